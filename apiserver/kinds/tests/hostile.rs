//! No tree makes a rule panic: every strategy runs on random trees whose keys and values are those that rules look for.

use kinds::{Context, kinds_with_rules, strategy_for, table};
use machinery::{Map, Value, json};
use proptest::prelude::*;

/// Words of the API: field names, enum values, odd numbers and strings.
const WORDS: &str = include_str!("hostile_words.txt");

fn word() -> impl Strategy<Value = String> {
    let words: Vec<String> = WORDS.split_whitespace().map(str::to_owned).collect();
    prop_oneof![9 => proptest::sample::select(words), 1 => "[a-zA-Z0-9./:%*\u{e9}-]{0,12}"]
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![Just(0i64), Just(1), Just(-1), Just(80), any::<i64>()].prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        prop_oneof![
            Just("1Gi"),
            Just("-1"),
            Just("100m"),
            Just("9E"),
            Just("2026-01-02T03:04:05Z"),
            Just("10.0.0.1"),
            Just("fd00::/8"),
            Just("50%"),
            Just("*/5 * * * *")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 160, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((word(), inner), 0..8).prop_map(|m| Value::from(m.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    (tree(), tree(), tree(), tree()).prop_map(|(metadata, spec, status, data)| {
        let mut o = json!({"metadata": metadata, "spec": spec, "status": status});
        if let (Some(o), Some(extra)) = (o.as_object_mut(), data.as_object()) {
            o.extend(extra.clone());
        }
        o
    })
}

use proptest::strategy::Strategy;

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn no_rule_panics(obj in object(), old in object(), mixed in any::<bool>()) {
        // Half of the updates change little: only then do the later comparisons run.
        let old = if mixed { let mut o = obj.clone(); if let (Some(o), Some(m)) = (o.as_object_mut(), old.as_object()) { o.extend(m.iter().take(1).map(|(k, v)| (k.clone(), v.clone()))); } o } else { old };
        for (group, kind) in kinds_with_rules().chain([("example.com", "Unknown")]) {
            let s = strategy_for(group, kind);
            for subresource in ["", "ephemeralcontainers", "resize", "finalize", "approval"] {
                let cx = Context { namespace: "default".into(), subresource: subresource.into(), now: 1_700_000_000, ..Context::default() };
                let (mut new, mut stored) = (obj.clone(), old.clone());
                s.default(&mut new);
                let once = new.clone();
                s.default(&mut new);
                prop_assert_eq!(&once, &new, "defaults of {} are idempotent", kind);
                s.default(&mut stored);
                s.prepare_for_create(&cx, &mut stored);
                s.validate(&cx, &stored);
                s.validate(&cx, &new);
                s.warnings(&cx, &new, None);
                s.warnings(&cx, &new, Some(&stored));
                s.prepare_for_update(&cx, &mut new, &stored);
                s.validate_update(&cx, &new, &stored);
                s.prepare_for_status_update(&cx, &mut new, &stored);
                s.validate_status_update(&cx, &new, &stored);
                s.selectable_fields(&new);
                s.deletion(&new, None);
                let row = table::row(s, &new, table::IncludeObject::Metadata, cx.now);
                let width = s.columns().len().max(if s.columns().is_empty() { 2 } else { 0 });
                prop_assert_eq!(row["cells"].as_array().map(Vec::len), Some(width), "cells of {}", kind);
            }
        }
    }
}
