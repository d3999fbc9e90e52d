//! Tests of `labels`.

use super::*;
use serde_json::json;

#[test]
fn strings() {
    let cases: &[(&str, Result<&str, &str>)] = &[
        ("", Ok("")),
        ("a=b", Ok("a=b")),
        ("b==c,a", Ok("a,b==c")),
        ("!x", Ok("!x")),
        ("x in (b,a)", Ok("x in (a,b)")),
        ("x notin ()", Ok("x notin ()")),
        ("x in (,)", Ok("x in ()")),
        ("x in (a,,b)", Ok("x in (,a,b)")),
        ("x=", Ok("x=")),
        ("x>1,y<2", Ok("x>1,y<2")),
        (" in in (in)", Ok("in in (in)")),
        ("x!=y", Ok("x!=y")),
        (
            "x=a||y=b",
            Err(
                "unable to parse requirement: values[0][x]: Invalid value: \"a||y\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            ),
        ),
        ("x==y==z", Err("found '==', expected: ',' or 'end of string'")),
        ("x=y,", Err("found '', expected: identifier after ','")),
        ("=", Err("found '=', expected: !, identifier, or 'end of string'")),
        ("x in a", Err("unable to parse requirement: found 'a' expected: '('")),
        ("x y", Err("unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt")),
        (
            "x>a",
            Err(
                "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ),
        (
            "é=b",
            Err(
                "unable to parse requirement: <nil>: Invalid value: \"é\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            ),
        ),
    ];
    for (input, want) in cases {
        let got = Selector::parse(input).map(|s| s.to_string()).map_err(|e| e.0);
        match (want, got) {
            (Ok(w), Ok(g)) => assert_eq!(*w, g, "{input}"),
            // The examples in upstream's message are joined with "', or '": only the start matters to this table.
            (Err(w), Err(g)) => assert_eq!(w.replace("',  or '", "', or '"), g.replace("',  or '", "', or '"), "{input}"),
            (w, g) => panic!("{input}: want {w:?}, got {g:?}"),
        }
    }
}

#[test]
fn matching() {
    let labels = json!({"a": "1", "b": "x"});
    let labels = labels.as_object().expect("an object");
    for (sel, want) in [
        ("", true),
        ("a=1", true),
        ("a!=1", false),
        ("c!=1", true),
        ("a in (1,2),b notin (y)", true),
        ("!c,a", true),
        ("!a", false),
        ("a>0", true),
        ("a<1", false),
        ("b>0", false),
    ] {
        let s = Selector::parse(sel).expect(sel);
        assert_eq!(s.matches(labels), want, "{sel}");
    }
}

#[test]
fn objects() {
    for (name, obj, want) in [
        ("absent", None, Ok("nothing")),
        ("empty", Some(json!({})), Ok("")),
        (
            "labels and expressions",
            Some(json!({"matchLabels": {"z": "1"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]})),
            Ok("a in (x,y),z=1"),
        ),
        (
            "operator",
            Some(json!({"matchExpressions": [{"key": "a", "operator": "Foo"}]})),
            Err("\"Foo\" is not a valid label selector operator"),
        ),
        (
            "no values",
            Some(json!({"matchExpressions": [{"key": "a", "operator": "In"}]})),
            Err("values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty"),
        ),
    ] {
        let got = Selector::from_label_selector(obj.as_ref());
        let got = got.map(|s| if s.is_nothing() { "nothing".into() } else { s.to_string() }).map_err(|e| e.0);
        assert_eq!(got.as_deref().map_err(String::as_str), want, "{name}");
    }
}
