"""Sends the same requests to two API servers and prints where the answers differ.

create: every valid object as it is and with each of its fields broken in many ways, as a dry run.
write:  the same objects, stored, then updated, patched (four kinds of patch) and applied in broken ways, as dry runs.
read:   discovery, lists, Tables and watches of every resource, and requests with odd paths, options, bodies and media types.

What must differ (UIDs, revisions, times) is masked. Differences alike are printed once; the count of all is at the end."""

import copy
import http.client
import json
import re
import ssl
import sys
import time

STOCK, SKIFF = 7443, 7444
MASKED = {"resourceVersion", "uid", "creationTimestamp", "time", "managedFields"}
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"20\d\d-\d\d-\d\dT[0-9:.]+Z")
HEADERS = {"content-type", "warning", "retry-after", "allow"}
JSON, MERGE, STRATEGIC = "application/json", "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

tls = ssl._create_unverified_context()
tls.load_cert_chain("client.crt", "client.key")
connections = {}
total = differing = 0
shown = {}


def ask(port, method, path, body="", content_type=JSON, accept=JSON):
    """Status, body and headers of one request, on a connection that is kept."""
    for last in (False, True):
        try:
            if port not in connections:
                connections[port] = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=60)
            text = body if isinstance(body, str) else json.dumps(body)
            headers = {"content-type": content_type, "accept": accept, "user-agent": "beside/1"}
            connections[port].request(method, path, body=text.encode(), headers=headers)
            answer = connections[port].getresponse()
            content = answer.read().decode(errors="replace")
            kept = {k.lower(): v for k, v in answer.getheaders() if k.lower() in HEADERS}
            return answer.status, parsed(content), kept
        except (OSError, http.client.HTTPException) as e:
            connections.pop(port, None)
            if last:
                return 0, repr(e), {}


def parsed(content):
    try:
        return json.loads(content)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in content.strip().split("\n") if line]
    except ValueError:
        return content[:3000]


def masked(v):
    if isinstance(v, dict):
        return {k: masked(x) for k, x in v.items() if k not in MASKED}
    if isinstance(v, list):
        return [masked(x) for x in v]
    return TIME.sub("TIME", UID.sub("UID", v)) if isinstance(v, str) else v


def differences(a, b, at=""):
    if a == b:
        return []
    if isinstance(a, dict) and isinstance(b, dict):
        out = []
        for k in sorted(set(a) | set(b)):
            if k not in a or k not in b:
                which, value = ("skiff", b) if k not in a else ("stock", a)
                out.append(f"{at}/{k}: {which} alone has {json.dumps(value[k])[:300]}")
            else:
                out += differences(a[k], b[k], f"{at}/{k}")
        return out
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f"{at}[{i}]")]
    return [f"{at}: stock {json.dumps(a)[:400]}\n{'':8}skiff {json.dumps(b)[:400]}"]


def both(method, path, body="", content_type=JSON, accept=JSON, what="", skiffs=None):
    """Asks both; `skiffs` is Skiff's body where it has to be another one."""
    global total, differing
    total += 1
    a = ask(STOCK, method, path, body, content_type, accept)
    b = ask(SKIFF, method, path, body if skiffs is None else skiffs, content_type, accept)
    found = differences(masked(list(a)), masked(list(b)))
    # Upstream's documentation is not ours to repeat.
    found = [d for d in found if not re.search(r"columnDefinitions\[\d+\]/description", d.split(":")[0])]
    if not found:
        return a, b
    differing += 1
    key = (a[0], b[0], content_type, re.sub(r"\d+", "N", re.sub(r'\\?"[^"]*"', "Q", found[-1]))[:120])
    shown[key] = shown.get(key, 0) + 1
    if shown[key] == 1:
        print(f"{method} {path} {what or str(body)[:80]}" + (f" accept {accept[:60]}" if accept != JSON else ""))
        for d in found[:5]:
            print(f"    {d}")
    return a, b


def paths(v, at=()):
    yield at
    for k, x in v.items() if isinstance(v, dict) else enumerate(v) if isinstance(v, list) else ():
        yield from paths(x, at + (k,))


def value_at(o, path):
    for k in path:
        o = o[k]
    return o


BROKEN = [
    (str, ["", "UPPER_case!", "a" * 70, "x" * 300, 5, "-1", "a/b", "10.0.0.1", " ", True]),
    (bool, ["x", 1, True, False]),
    (int, [-1, 0, 1, 65536, 2**31, 2**40, "1", "x", 1.5]),
    (list, [[], None, {}, "x"]),
    (dict, [{}, None, [], "x"]),
]


def mutants(o, few=False):
    """Where, how and what: the object with one value dropped, replaced, doubled or added."""

    def put(path, v):
        n = copy.deepcopy(o)
        value_at(n, path[:-1])[path[-1]] = v
        return n

    for path in list(paths(o)):
        if not path or path[-1] in ("apiVersion", "kind") and len(path) == 1:
            continue
        n, old = copy.deepcopy(o), value_at(o, path)
        del value_at(n, path[:-1])[path[-1]]
        yield path, "dropped", n
        kinds = [values for t, values in BROKEN if isinstance(old, t) and not (t is int and isinstance(old, bool))]
        for v in kinds[0][: 4 if few else None] if kinds else ():
            yield path, json.dumps(v)[:20], put(path, v)
        if isinstance(old, list) and old:
            yield path, "doubled", put(path, old + [copy.deepcopy(old[0])])
        if isinstance(old, dict):
            yield path, "more", put(path, old | {"bogusField": 1})


def create(objects):
    for path, o in objects:
        for at, how, n in [((), "as it is", o), *mutants(o)]:
            strict = "&fieldValidation=Strict" if how == "more" else ""
            both("POST", f"{path}?dryRun=All{strict}", n, what=f"{o['kind']} {'/'.join(map(str, at))}: {how}")


def write(objects):
    for path, o in objects:
        item = f"{path}/{o['metadata']['name']}"
        dry = f"{item}?dryRun=All"
        both("POST", path, o)
        stock, skiff = both("GET", item)
        live, ours = (copy.deepcopy(x[1]) for x in (stock, skiff))
        if "metadata" not in live or "metadata" not in ours:
            continue
        names = [(live["metadata"][k], ours["metadata"][k]) for k in ("uid", "creationTimestamp")]
        for f in ("managedFields", "resourceVersion"):
            live["metadata"].pop(f, None)

        def own(v):
            text = json.dumps(v)
            for theirs, mine in names:
                text = text.replace(theirs, mine)
            return text

        for at, how, n in mutants(live, few=True):
            what = f"{o['kind']} {'/'.join(map(str, at))}: {how}"
            both("PUT", dry, n, what=what, skiffs=own(n))
            both("PUT", f"{item}/status?dryRun=All", n, what=what, skiffs=own(n))
        for at in [p for p in paths(o) if p and p[0] not in ("apiVersion", "kind")]:
            pointer = "/" + "/".join(str(k).replace("~", "~0").replace("/", "~1") for k in at)
            for v in (None, "x", 5, [], {}):
                patch = v
                for k in reversed(at):
                    patch = [patch] if isinstance(k, int) else {k: patch}
                for kind in (MERGE, STRATEGIC):
                    both("PATCH", dry, patch, kind)
            for op in ("remove", "replace", "test", "add"):
                both("PATCH", dry, [{"op": op, "path": pointer, "value": "x"}], JSON_PATCH)
            both("PATCH", dry, [{"op": "move", "from": pointer, "path": "/metadata/labels"}], JSON_PATCH)
        both("PATCH", f"{dry}&fieldManager=beside", o, APPLY)
        for at, how, n in mutants(o, few=True):
            both("PATCH", f"{dry}&fieldManager=beside&force=true", n, APPLY, what=f"{o['kind']} {'/'.join(map(str, at))}: {how}")


def read(objects):
    for path, o in objects:
        both("POST", path, o)
    for p in ("/api", "/apis"):
        both("GET", p)
        both("GET", p, accept=DISCOVERY)
    resources = []
    versions = [f"/apis/{v['groupVersion']}" for g in ask(STOCK, "GET", "/apis")[1]["groups"] for v in g["versions"]]
    for base in ["/api/v1", *versions]:
        listed = both("GET", base)[0][1].get("resources", [])
        resources += [(base, r) for r in listed if "/" not in r["name"] and "list" in r["verbs"]]
    for base, r in resources:
        p = f"{base}{'/namespaces/default' if r['namespaced'] else ''}/{r['name']}"
        for accept in (JSON, TABLE, PARTIAL):
            both("GET", p, accept=accept)
        for q in ("?fieldSelector=bogus=1", "/nosuch", "/nosuch/bogus", "?watch=1&timeoutSeconds=1&resourceVersion=bogus"):
            both("GET", p + q)
        for body in ("", "{", "{}"):
            both("POST", p, body)
        both("PUT", p, {})
        both("DELETE", f"{p}/nosuch")
        both("PATCH", f"{p}/nosuch", {}, "text/x")
        both("PATCH", f"{p}/nosuch", {}, MERGE)
    pods, maps = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/configmaps"
    for q in (
        "limit=1 limit=-1 limit=x limit=1&continue=bogus labelSelector=a%3Db labelSelector=%3D%3D labelSelector=a+in+(b,c) "
        "labelSelector=a%3Ex fieldSelector=metadata.name%3Dx fieldSelector=spec.nodeName fieldSelector=%3D resourceVersion=0 "
        "resourceVersion=1 resourceVersion=x resourceVersion=-1 resourceVersionMatch=Exact resourceVersionMatch=Exact&resourceVersion=0 "
        "resourceVersionMatch=Bogus&resourceVersion=1 limit=1&resourceVersion=0 timeoutSeconds=x watch=x watch=1&timeoutSeconds=1 "
        "watch=1&timeoutSeconds=1&resourceVersion=0 watch=1&timeoutSeconds=1&sendInitialEvents=true sendInitialEvents=true "
        "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true pretty=true bogus=1"
    ).split():
        both("GET", f"{pods}?{q}")
        both("GET", f"{pods}?{q}", accept=TABLE)
    for accept in ("text/html", "*/*", "application/yaml", "application/cbor", "application/json;as=Bogus;v=v1;g=meta.k8s.io"):
        for p in (pods, f"{pods}/x", f"{pods}/nosuch", "/api/v1", "/version"):
            both("GET", p, accept=accept)
    map_ = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "q"}}
    bodies = [map_, [], 1, "null", {"kind": "ConfigMap"}, {"apiVersion": "v2", "kind": "ConfigMap"}, {"apiVersion": "v1", "kind": "Pod"}]
    bodies += [map_ | {"data": {"a": 1}}, map_ | {"dat": {}}, map_ | {"metadata": {"name": "q", "namespace": "other"}}]
    for kind in ("", "text/plain", "application/yaml", "application/cbor", "application/vnd.kubernetes.protobuf"):
        for body in bodies:
            both("POST", f"{maps}?dryRun=All", body, kind)
    for options in ("{}", '{"propagationPolicy":"Bogus"}', '{"gracePeriodSeconds":-1}', '{"preconditions":{"uid":"x"}}', '{"dryRun":["x"]}',
                    '{"kind":"Pod","apiVersion":"v1"}', "[]", '{"propagationPolicy":"Orphan","orphanDependents":true}'):
        both("DELETE", f"{pods}/nosuch", options)
        both("DELETE", f"{maps}/s", options)
        both("POST", maps, map_ | {"metadata": {"name": "s"}})
    for p in ("/bogus", "/apis/apps/v9", "/api/v1/namespaces/nosuch/pods", "/api/v1/pods/x", f"{pods}/x/bogus", f"{pods}/x/log",
              f"{pods}/x/eviction", f"{pods}/x/binding", "/apis/apps/v1/namespaces/default/deployments/d/scale", "/openapi/v3"):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS"):
            both(method, p, "" if method in ("GET", "HEAD", "OPTIONS") else {}, MERGE if method == "PATCH" else JSON)


def main():
    path, mode, kinds = sys.argv[1], (sys.argv[2:3] or ["create"])[0], sys.argv[3:]
    with open(path, encoding="utf-8") as f:
        objects = [(e["path"], e["object"]) for e in map(json.loads, f)]
    objects = [x for x in objects if not kinds or x[1]["kind"] in kinds]
    for port in (STOCK, SKIFF):
        while ask(port, "GET", "/readyz")[0] != 200 or ask(port, "GET", "/api/v1/namespaces/default")[0] != 200:
            time.sleep(0.2)
    {"create": create, "write": write, "read": read}[mode](objects)
    print(f"{differing} of {total} requests are answered otherwise")


main()
