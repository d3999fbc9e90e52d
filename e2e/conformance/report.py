#!/usr/bin/env python3
"""Turns the junit files of a run into report.md: score by SIG, failures grouped by cause, slowest tests, and what changed since the
committed score. Beside each failing test's output it cuts the cluster's logs of the same minutes.

With --record the run becomes the committed score (docs/conformance.tsv: result, test name): with `all`, what it left out is
"not run"; with `update`, what it left out stays as it was.
"""
import argparse
import collections
import datetime
import pathlib
import re
import xml.etree.ElementTree as xml

Result = collections.namedtuple("Result", "passed seconds message output")
STAMP = re.compile(r"@ (\d\d/\d\d/\d\d \d\d:\d\d:\d\d)")
# klog, tracing and containerd all put an RFC 3339 time first or as time="…".
LOG_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")


def read(out):
    """Results by test name."""
    results = {}
    for path in sorted(out.glob("*/junit*.xml")):
        for case in xml.parse(path).getroot().iter("testcase"):
            name = case.get("name", "")
            fault = case.find("failure")
            if fault is None:
                fault = case.find("error")
            if not name.startswith("[It] ") and fault is None:
                continue
            if case.get("status") == "skipped" or case.find("skipped") is not None:
                continue
            # Ginkgo puts labels after the name.
            name = re.sub(r"^\[It\] ", "", name)
            message = "" if fault is None else (fault.get("message") or "") + "\n" + (fault.text or "")
            output = case.findtext("system-err") or ""
            results[name] = Result(fault is None, float(case.get("time") or 0), message.strip(), output)
    return results


def first_line(message):
    """The line that says most: the innermost message of a Gomega or framework failure."""
    lines = [l.strip() for l in message.splitlines() if l.strip()]
    for n, line in enumerate(lines):
        if line.startswith(("Timed out after", "Told to stop trying", "Expected")) and n + 1 < len(lines):
            return " ".join(lines[n:n + 4])[:400]
    return (lines[0] if lines else "no message")[:400]


def cause(line):
    """A message without what differs from test to test."""
    line = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22,}", "<uid>", line)
    line = re.sub(r"\b[a-z0-9-]+-\d{2,}\b", "<name>", line)
    line = re.sub(r"\d+(\.\d+)*", "#", line)
    line = re.sub(r"[\"'][^\"']{1,80}[\"']", "<…>", line)
    return line[:160]


def window(output):
    stamps = [datetime.datetime.strptime(s, "%m/%d/%y %H:%M:%S") for s in STAMP.findall(output)]
    return (min(stamps), max(stamps)) if stamps else None


def cut_logs(results, directory, logs):
    """One folder for each failing test: its output, and each node's logs while it ran."""
    failed = {n: r for n, r in results.items() if not r.passed}
    lines = {}
    for d in logs:
        for path in sorted(pathlib.Path(d).glob("*.log")):
            last, rows = "", []
            for line in path.read_text(errors="replace").splitlines():
                found = LOG_STAMP.search(line[:80])
                last = found.group(1) if found else last
                rows.append((last, line))
            lines[f"{pathlib.Path(d).parent.parent.name}-{path.name}"] = rows
    for name, r in failed.items():
        to = directory / re.sub(r"[^A-Za-z0-9]+", "-", name)[:120].strip("-")
        to.mkdir(parents=True, exist_ok=True)
        (to / "output.txt").write_text(f"{name}\n\n{r.message}\n\n{r.output}")
        span = window(r.output)
        if span is None:
            continue
        begin, end = (t.isoformat() for t in span)
        for log, rows in lines.items():
            chosen = [line for stamp, line in rows if begin <= stamp <= end + "~"]
            if chosen:
                (to / log).write_text("\n".join(chosen) + "\n")


def committed(path):
    rows = (l.split("\t", 1) for l in path.read_text().splitlines() if l and not l.startswith("#")) if path.exists() else ()
    return {name: result for result, name in rows}


def write(args, results, before):
    sig = lambda name: (re.match(r"\[(sig-[a-z-]+)\]", name) or [None, "other"])[1]
    passed = sum(r.passed for r in results.values())
    text = ["# Conformance report", "", f"**{passed} of {len(results)} passed** ({len(before)} tests in the suite), without retries.", "",
            f"Cluster {args.cluster}; commit {args.commit}; {args.wall // 60} min {args.wall % 60} s.", "",
            "| SIG | passed | run |", "| --- | --- | --- |"]
    groups = collections.defaultdict(list)
    for name, r in results.items():
        groups[sig(name)].append(r.passed)
    text += [f"| {s} | {sum(g)} | {len(g)} |" for s, g in sorted(groups.items())]

    failures = collections.defaultdict(list)
    for name, r in sorted(results.items()):
        if not r.passed:
            line = first_line(r.message)
            failures[cause(line)].append((name, line, r.seconds))
    text += ["", "## Failures by cause", ""]
    for n, (_, tests) in enumerate(sorted(failures.items(), key=lambda f: -len(f[1])), 1):
        text += [f"### {n}. {len(tests)} × {tests[0][1][:200]}", ""]
        text += [f"- {name} ({seconds:.0f} s): {line[:200]}" for name, line, seconds in tests] + [""]

    text += ["## Slowest", ""] + [f"- {r.seconds:.0f} s: {n}" for n, r in sorted(results.items(), key=lambda x: -x[1].seconds)[:15]]
    gained = [n for n, r in results.items() if r.passed and before.get(n) != "pass"]
    lost = [n for n, r in results.items() if not r.passed and before.get(n) == "pass"]
    unknown = [n for n in results if before and n not in before]
    text += ["", "## Against the committed score", "", f"{len(gained)} gained, {len(lost)} lost."]
    text += [f"- lost: {n}" for n in sorted(lost)] + [f"- gained: {n}" for n in sorted(gained)]
    text += [f"- not in the list: {n}" for n in sorted(unknown)]
    args.report.write_text("\n".join(text) + "\n")
    print("\n".join(text[2:3] + text[6:8 + len(groups)]))
    for tests in sorted(failures.values(), key=lambda t: -len(t)):
        print(f"{len(tests):4} × {tests[0][1][:180]}")
    print(f"{len(gained)} gained, {len(lost)} lost; report: {args.report}")
    return passed, lost


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("out", "report", "committed"):
        parser.add_argument("--" + name, type=pathlib.Path, required=True)
    parser.add_argument("--wall", type=int, default=0)
    parser.add_argument("--cluster", default="")
    parser.add_argument("--commit", default="")
    parser.add_argument("--record", choices=["all", "update"])
    parser.add_argument("--tests", type=pathlib.Path, help="names that must all be among the results")
    parser.add_argument("--logs", nargs="*", default=[])
    args = parser.parse_args()
    results, before = read(args.out), committed(args.committed)
    for word, want in (("passed", True), ("failed", False)):
        (args.out / f"{word}.txt").write_text("".join(n + "\n" for n in sorted(results) if results[n].passed == want))
    cut_logs(results, args.out / "failures", args.logs)
    passed, _ = write(args, results, before)
    if args.record:
        rows = {n: before[n] if args.record == "update" else "not run" for n in before}
        rows |= {n: "pass" if r.passed else "fail" for n, r in results.items()}
        count = collections.Counter(rows.values())
        whole = "one run, no retries" if args.record == "all" else "put together from several runs"
        head = f"# {count['pass']} passed, {count['fail']} failed, {count['not run']} not run; the last run: {passed} passed of {len(results)}, " \
               f"{args.cluster}, commit {args.commit}, {datetime.date.today()}; {whole}\n# result\ttest\n"
        args.committed.write_text(head + "".join(f"{rows[n]}\t{n}\n" for n in sorted(rows)))
    missing = [n for n in args.tests.read_text().splitlines() if n and not n.startswith("#") and n not in results] if args.tests else []
    for name in missing:
        print(f"did not run: {name}")
    raise SystemExit(0 if results and passed == len(results) and not missing else 1)


if __name__ == "__main__":
    main()
