//! Expressions and what upstream's own environment answers (`e2e/oracle/cel`, whose answers `tests/expressions.jsonl` holds): the
//! value or the error, the type, and the cost.

use cel::{Budget, Env, Type, Val};
use machinery::Value;

#[test]
fn as_upstream() {
    let path = std::env::var("SKIFF_CEL_ANSWERS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/expressions.jsonl").into());
    let text = std::fs::read_to_string(path).expect("the table of expressions");
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("a line of JSON");
        let expression = case["expr"].as_str().unwrap_or_default();
        let none = Default::default();
        let vars = case["vars"].as_object().unwrap_or(&none);
        let env = Env::new(vars.keys().map(|k| (k.as_str(), Type::Dyn)));
        let mut got = machinery::Map::new();
        match env.compile(expression) {
            Err(e) => {
                got.insert("compile".into(), e.to_string().into());
            }
            Ok(program) => {
                got.insert("type".into(), program.output().full_name().into());
                let activation: Vec<(&str, Val)> = vars.iter().map(|(k, v)| (k.as_str(), Val::dynamic(v))).collect();
                let (result, cost) = program.eval_cost(&activation, &Budget::new(100_000_000));
                match result {
                    Ok(v) => got.insert("value".into(), format!("{v:?}").into()),
                    Err(e) => got.insert("error".into(), e.to_string().into()),
                };
                if cost > 0 {
                    got.insert("cost".into(), cost.into());
                }
            }
        }
        count += 1;
        let want: Value = case["answer"].clone();
        if Value::Object(got.clone()) != want {
            wrong.push(format!("{expression} {}\n   want {want}\n   got  {}", case["vars"], Value::Object(got)));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}
