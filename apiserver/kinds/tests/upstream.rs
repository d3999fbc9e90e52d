//! What upstream's strategies (v1.36.3) answer to objects with one field changed: each case names a base object, the path of the
//! change, its value (`null` deletes) and the errors of creating it, or of updating the base to it. Errors of metadata are the
//! caller's, and only the first line of a text counts: the diffs below it name Go's internal fields.

use kinds::{Context, strategy_for};
use machinery::{Value, meta};

fn change(v: &mut Value, path: &[Value], value: &Value) {
    let Some((first, rest)) = path.split_first() else { return };
    match (first, v) {
        (Value::String(k), Value::Object(m)) if rest.is_empty() => {
            if value.is_null() {
                m.remove(k);
            } else {
                m.insert(k.clone(), value.clone());
            }
        }
        (Value::String(k), Value::Object(m)) => change(m.entry(k).or_insert(Value::Null), rest, value),
        (Value::Number(n), Value::Array(a)) => {
            let i = n.as_u64().and_then(|n| usize::try_from(n).ok()).expect("an index");
            if !rest.is_empty() {
                change(&mut a[i], rest, value);
            } else if value.is_null() {
                a.remove(i);
            } else {
                a[i] = value.clone();
            }
        }
        _ => panic!("no such path"),
    }
}

#[test]
fn answers() {
    let bases: Vec<Value> = serde_json::from_str(include_str!("upstream/bases.json")).expect("bases");
    let cases: Vec<Value> = serde_json::from_str(include_str!("upstream/cases.json")).expect("cases");
    let cx = Context { namespace: "default".into(), ..Context::default() };
    for case in &cases {
        let base = &bases[usize::try_from(case["base"].as_u64().expect("a number")).expect("an index")];
        let mut obj = base.clone();
        change(&mut obj, case["path"].as_array().expect("a path"), &case["value"]);
        let api_version = meta::str_at(&obj, &["apiVersion"]);
        let s = strategy_for(api_version.split_once('/').map_or("", |(g, _)| g), meta::str_at(&obj, &["kind"]));
        s.default(&mut obj);
        let errs = if case["update"] == true {
            let mut old = base.clone();
            s.default(&mut old);
            s.prepare_for_update(&cx, &mut obj, &old);
            s.validate_update(&cx, &obj, &old)
        } else {
            s.prepare_for_create(&cx, &mut obj);
            s.validate(&cx, &obj)
        };
        let mut got: Vec<String> = errs.iter().map(|e| e.to_string().lines().next().unwrap_or("").to_owned()).collect();
        got.retain(|e| !e.starts_with("metadata."));
        got.sort();
        got.dedup();
        assert_eq!(Value::from(got), case["errors"], "{} {} {}", meta::str_at(base, &["kind"]), case["path"], case["value"]);
    }
}
