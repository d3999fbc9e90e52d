//! The engines against upstream's own (e2e/oracle/patch), on generated inputs. Runs where `SKIFF_PATCH_ORACLE` names the program;
//! what it finds is frozen into the tables of the other tests.

use machinery::{Value, json};
use patch::managed::{self, Request};
use schema::Registry;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

struct Oracle {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Oracle {
    fn start() -> Option<Self> {
        let program = std::env::var_os("SKIFF_PATCH_ORACLE")?;
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the oracle starts");
        let (input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        Some(Self { child, input, output: BufReader::new(output) })
    }
    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.input, "{request}").expect("the oracle reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the oracle answers");
        serde_json::from_str(&line).expect("an answer")
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small generator, so that a failing seed can be run again.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
    fn one<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).expect("small")]
    }
    fn some(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
    /// Up to three different items, in any order.
    fn names<'a>(&mut self, from: &[&'a str]) -> Vec<&'a str> {
        let mut out = Vec::new();
        for _ in 0..self.below(4) {
            let n = *self.one(from);
            if !out.contains(&n) {
                out.push(n);
            }
        }
        out
    }
}

fn labels(r: &mut Rng) -> Value {
    let names = r.names(&["a", "b", "c"]);
    names.into_iter().map(|n| (n.to_owned(), Value::from(*r.one(&["1", "2"])))).collect::<machinery::Map<_, _>>().into()
}

fn container(r: &mut Rng, name: &str) -> Value {
    let mut c = json!({"name": name});
    if r.some(2) {
        c["image"] = (*r.one(&["x", "y"])).into();
    }
    if r.some(3) {
        c["args"] = r.names(&["p", "q"]).into();
    }
    if r.some(2) {
        let ports: Vec<Value> = r
            .names(&["80", "81", "82"])
            .iter()
            .map(|p| {
                let mut port = json!({"containerPort": p.parse::<i32>().expect("a number")});
                if r.some(2) {
                    port["protocol"] = (*r.one(&["TCP", "UDP"])).into();
                }
                if r.some(3) {
                    port["name"] = (*r.one(&["n", "m"])).into();
                }
                port
            })
            .collect();
        c["ports"] = ports.into();
    }
    if r.some(2) {
        let names = r.names(&["E", "F", "G"]);
        c["env"] = names.into_iter().map(|n| json!({"name": n, "value": *r.one(&["1", "2"])})).collect();
    }
    if r.some(3) {
        c["resources"] = json!({"limits": {"cpu": *r.one(&["1", "2"])}});
    }
    c
}

fn deployment(r: &mut Rng) -> Value {
    let mut d =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": {}}}});
    if r.some(2) {
        d["metadata"]["labels"] = labels(r);
    }
    if r.some(2) {
        d["metadata"]["finalizers"] = r.names(&["x/a", "x/b", "x/c"]).into();
    }
    if r.some(2) {
        d["spec"]["replicas"] = r.below(3).into();
    }
    if r.some(2) {
        d["spec"]["selector"] = json!({"matchLabels": labels(r)});
    }
    if r.some(3) {
        d["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": *r.one(&["1", "2"])}});
    }
    if r.some(4) {
        d["spec"]["template"]["spec"]["nodeSelector"] = labels(r);
    }
    let names = r.names(&["a", "b", "c"]);
    let containers: Vec<Value> = names.into_iter().map(|n| container(r, n)).collect();
    if !containers.is_empty() || r.some(2) {
        d["spec"]["template"]["spec"]["containers"] = containers.into();
    }
    d
}

/// Times differ between the two.
fn without_times(mut v: Value) -> Value {
    if let Some(list) = v.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut) {
        for e in list.iter_mut() {
            e.as_object_mut().expect("an entry").remove("time");
        }
        list.sort_by_key(|e| format!("{}{}", e["operation"], e["manager"]));
    }
    v
}

#[test]
fn managed_fields() {
    let Some(mut oracle) = Oracle::start() else { return };
    let typed = Registry::builtin().typed_kind("apps", "v1", "Deployment").expect("a kind");
    for seed in 1..=2000u64 {
        let mut r = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let steps: Vec<Value> = (0..2 + r.below(5))
            .map(|_| json!({"op": *r.one(&["apply", "apply", "update"]), "object": deployment(&mut r), "manager": *r.one(&["one", "two", "three"]), "force": r.some(2)}))
            .collect();
        let want = oracle.ask(&json!({"what": "manage", "group": "apps", "version": "v1", "kind": "Deployment", "steps": steps}));
        assert!(want["error"].is_null(), "{want}");
        let mut live = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
        for (i, s) in steps.iter().enumerate() {
            let now = machinery::time::parse("2026-01-01T00:00:00Z").expect("a time");
            let manager = s["manager"].as_str().expect("a name");
            let req = Request { typed, manager, api_version: "apps/v1", subresource: "", reset_fields: None, now };
            let next = if s["op"] == "apply" {
                managed::apply(Some(&live), &s["object"], s["force"] == true, &req)
            } else {
                Ok(managed::update(Some(&live), s["object"].clone(), &req))
            };
            let want = &want["values"][i];
            match next {
                Ok(v) => {
                    assert_eq!(without_times(v.clone()), without_times(want.clone()), "seed {seed} step {i}: {s}\nlive {live}");
                    live = v;
                }
                Err(e) => {
                    assert_eq!(want["code"], e.code, "seed {seed} step {i}: {e} against {want}");
                    // Upstream's order between owners is random where several conflict.
                    assert_eq!(want["error"], e.message, "seed {seed} step {i}");
                }
            }
        }
    }
}

/// Sprinkles directives over a patch.
fn directives(r: &mut Rng, patch: &mut Value) {
    let pod = &mut patch["spec"]["template"]["spec"];
    if let Some(list) = pod["containers"].as_array_mut() {
        for c in list.iter_mut() {
            if r.some(5) {
                *c = json!({"name": c["name"], "$patch": "delete"});
            } else if r.some(5) {
                c["image"] = Value::Null;
            } else if r.some(5) {
                c["$patch"] = "replace".into();
            }
        }
        if r.some(8) {
            list.push(json!({"$patch": "replace"}));
        }
        if r.some(3) {
            let order: Vec<Value> = ["a", "b", "c"].iter().map(|n| json!({"name": n})).collect();
            pod["$setElementOrder/containers"] = order.into();
        }
    } else if pod["containers"].is_null() {
        pod.as_object_mut().expect("an object").remove("containers");
    }
    if r.some(4) {
        // With both, the outcome upstream depends on the order of a Go map.
        patch["metadata"].as_object_mut().expect("an object").remove("finalizers");
        patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = r.names(&["x/a", "x/b"]).into();
    }
    if r.some(4) {
        patch["spec"]["strategy"] = json!({"$retainKeys": ["type"], "type": "Recreate"});
    }
    if r.some(6) {
        patch["spec"]["selector"] = json!({"$patch": "replace", "matchLabels": {"z": "1"}});
    }
}

#[test]
fn strategic_merge_patch() {
    let Some(mut oracle) = Oracle::start() else { return };
    let typed = Registry::builtin().typed_kind("apps", "v1", "Deployment").expect("a kind");
    for seed in 1..=4000u64 {
        let mut r = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (original, mut patch) = (deployment(&mut r), deployment(&mut r));
        directives(&mut r, &mut patch);
        let want = oracle.ask(&json!({"what": "strategic", "group": "apps", "version": "v1", "kind": "Deployment", "original": original, "patch": patch}));
        match patch::strategic::apply(&original, &patch, typed) {
            Ok(v) => assert_eq!(v, want["value"], "seed {seed}: {original}\n+ {patch}\n{}", want["error"]),
            Err(e) => assert!(want["error"].is_string(), "seed {seed}: {e} where upstream applies {patch} to {original}"),
        }
    }
}

#[test]
fn quantities() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut r = Rng(42);
    for _ in 0..20_000 {
        let mut text = (*r.one(&["", "", "", "-", "+"])).to_owned();
        for _ in 0..r.below(20) {
            text.push(*r.one(&['0', '0', '0', '1', '2', '5', '9', '4']));
        }
        if r.some(3) {
            text.push('.');
            for _ in 0..r.below(12) {
                text.push(*r.one(&['0', '0', '1', '5', '9']));
            }
        }
        let suffix = r.one::<&str>(&[
            "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E-2", "e9", "x", "K",
        ]);
        text.push_str(suffix);
        let want = oracle.ask(&json!({"what": "quantity", "text": text}));
        match machinery::quantity::canonicalize(&text) {
            Ok(got) => {
                let q: machinery::quantity::Quantity = text.parse().expect("parsed before");
                // Beyond 1000E upstream prints no suffix at all; see the module.
                if want["values"][0].as_str().is_some_and(|w| w.parse::<machinery::quantity::Quantity>() != Ok(q)) {
                    continue;
                }
                assert_eq!((&want["values"][0], &want["values"][1]), (&Value::from(got), &Value::from(q.to_string())), "{text}");
                // On overflow upstream's numbers are arbitrary.
                if q.milli_value().unsigned_abs() < 1 << 60 && q.sign() >= 0 {
                    assert_eq!((&want["values"][2], &want["values"][3]), (&q.value().into(), &q.milli_value().into()), "{text}");
                }
            }
            Err(e) => assert_eq!(want["error"], e.to_string(), "{text}"),
        }
    }
}

#[test]
fn selectors() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut r = Rng(7);
    let parts = ["a", "b/c", "in", "notin", "(", ")", ",", "=", "==", "!=", "!", " ", "<", ">", "1", "x", "-"];
    for _ in 0..20_000 {
        let text: String = (0..r.below(9)).map(|_| *r.one(&parts)).collect();
        let want = oracle.ask(&json!({"what": "selector", "text": text}));
        match machinery::labels::Selector::parse(&text) {
            Ok(s) => assert_eq!(want["value"].as_str().unwrap_or_default(), s.to_string(), "{text:?} {want}"),
            Err(e) => assert_eq!(want["error"], e.to_string(), "{text:?}"),
        }
    }
}
