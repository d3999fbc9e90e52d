//! Texts that mean harm: deep, long, costly. None may take more than its bounds of stack, time or memory.

use cel::{Budget, Env, EvalError, Type, Val};

/// The stack of a server's worker thread.
const STACK: usize = 2 << 20;

fn on_a_worker(f: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(STACK).spawn(f).expect("a thread").join().expect("no overflow, no panic");
}

/// Compiles, and evaluates what compiles; whether it compiled.
fn run(text: &str) -> bool {
    let env = Env::new([("a", Type::Dyn)]);
    let object = machinery::json!({"a": {"a": {}}, "l": [1, 2, 3]});
    match env.compile(text) {
        Ok(program) => {
            let _ = program.eval(&[("a", Val::dynamic(&object))], &Budget::new(1_000_000));
            let _ = program.max_cost(&cel::DeclType::scalar(Type::Dyn));
            true
        }
        Err(e) => {
            let _ = e.to_string();
            false
        }
    }
}

#[test]
fn depth_is_bounded() {
    on_a_worker(|| {
        let nest = |open: &str, inner: &str, close: &str, n: usize| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
        for n in [20, 200, 1_000, 20_000] {
            for (case, text) in [
                ("parentheses", nest("(", "1", ")", n)),
                ("lists", nest("[", "1", "]", n)),
                ("maps", nest("{1:", "1", "}", n)),
                ("indexes", nest("a[", "1", "]", n)),
                ("calls", nest("size(", "a", ")", n)),
                ("members", format!("a{}", ".a".repeat(n))),
                ("parenthesized members", nest("(", "a", ".a)", n)),
                ("methods", format!("a{}", ".trim()".repeat(n))),
                ("sums", format!("1{}", "+1".repeat(n))),
                ("conditions", format!("{}1", "true ? 1 : ".repeat(n))),
                ("negations", format!("{}a", "!".repeat(n))),
                ("folds", nest("a.all(x, ", "true", ")", n)),
                ("optional maps", format!("a{}", ".optMap(x, x)".repeat(n))),
                ("open", "(".repeat(n)),
            ] {
                let compiled = run(&text);
                assert!(
                    compiled || n > 20 || matches!(case, "open" | "calls" | "methods" | "optional maps" | "lists"),
                    "{case} of {n}"
                );
                assert!(!compiled || n <= 200 || case == "negations", "{case} of {n} is too deep");
            }
        }
        // These are as long as may be, and flat.
        assert!(run(&format!("true{}", "&&true".repeat(10_000))), "balanced");
        assert!(run(&format!("[1{}]", ",1".repeat(40_000))), "wide");
        assert!(!run(&"1".repeat(100_001)), "long");
    });
}

#[test]
fn cost_is_bounded() {
    let env = Env::new([("a", Type::Dyn)]);
    let object = machinery::json!((0..1000).collect::<Vec<_>>());
    for (case, text) in [
        ("nested folds", "a.all(x, a.all(y, a.all(z, x + y + z >= 0)))"),
        ("doubling", "a.map(x, [x]).map(x, x + x + x).map(x, x + x).all(x, a.all(y, y >= 0))"),
        ("a long range", "lists.range(100000000).size() > 0"),
    ] {
        let program = env.compile(text).expect(case);
        let budget = Budget::new(10_000_000);
        let result = program.eval(&[("a", Val::dynamic(&object))], &budget);
        assert_eq!(result.err(), Some(EvalError::CostExceeded), "{case}");
    }
}
