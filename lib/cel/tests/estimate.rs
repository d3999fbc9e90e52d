//! The most that rules cost on a declared type, as upstream estimates it: `e2e/oracle/cel` answered `tests/estimates.tsv`.

use cel::{DeclType, Env, Field, ListKind, Type, limits};
use std::sync::Arc;

fn fields(of: Vec<(&str, DeclType)>) -> std::collections::BTreeMap<String, Field> {
    let field =
        |(name, decl): (&str, DeclType)| (name.to_owned(), Field { json: name.into(), decl: Arc::new(decl), required: false });
    of.into_iter().map(field).collect()
}

/// As e2e/oracle/cel/estimate.go declares it.
fn declared() -> DeclType {
    // A character may take four bytes.
    let text = |max: u64| DeclType::scalar(Type::String).with_max(Some(4 * max));
    let list = |of: DeclType, max: u64| DeclType::list(Arc::new(of), ListKind::Atomic, Some(max));
    DeclType::object(
        "self",
        fields(vec![
            ("s", text(10)),
            // What fits into a request, but for the quotes.
            ("u", DeclType::scalar(Type::String).with_max(Some(limits::MAX_REQUEST_SIZE - 2))),
            ("n", DeclType::scalar(Type::Int)),
            ("b", DeclType::scalar(Type::Bool)),
            ("l", list(text(7), 5)),
            ("o", list(DeclType::object("self.o", fields(vec![("name", text(6))])), 4)),
            ("i", list(DeclType::scalar(Type::Int), 6)),
            ("m", DeclType::map(Arc::new(DeclType::scalar(Type::Int)), Some(3))),
        ]),
    )
}

#[test]
fn as_upstream() {
    let declared = Arc::new(declared());
    let env = Env::new([("self", declared.as_type())]);
    let mut wrong = Vec::new();
    for line in include_str!("estimates.tsv").lines() {
        let (want, rule) = line.split_once('\t').expect("a cost and a rule");
        let got = env.compile(rule).unwrap_or_else(|e| panic!("{rule}: {e}")).max_cost(&declared);
        if got.to_string() != want {
            wrong.push(format!("{rule}: {got}, not {want}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
