//! Tests of `validation`.

use super::*;

#[test]
fn accepts_and_refuses() {
    type Check = fn(&str) -> Vec<String>;
    let long64 = "a".repeat(64);
    let cases: &[(&str, Check, &[&str], &[&str])] = &[
        ("label", dns1123_label, &["a", "a-b", "0a"], &["", "A", "-a", "a-", "a.b", "a_b", &long64]),
        ("subdomain", dns1123_subdomain, &["a.b", "a", "1.2"], &["", "a..b", ".a", "A.b", "a_b"]),
        ("underscore", dns1123_subdomain_with_underscore, &["_a.b_c", "a"], &["", "a..b", "__a", "a_"]),
        ("1035", dns1035_label, &["a1"], &["1a", "", "a-"]),
        ("wildcard", wildcard_dns1123_subdomain, &["*.a.b"], &["a.b", "*", "*."]),
        ("qualified", qualified_name, &["a", "a.b/C_d", "1"], &["", "/a", "a/", "a/b/c", "A/b", "a_", &long64]),
        ("value", label_value, &["", "A", "a_b.c"], &["-a", "a b", &long64]),
        ("port", port_name, &["http", "a-1"], &["", "1", "a--b", "-a", "A", "abcdefghijklmnop"]),
        ("percent", percent, &["0%"], &["%", "1", "-1%"]),
        ("header", http_header_name, &["X-A"], &["", "a b"]),
        ("env", env_var_name, &["A_b.c-1"], &["", "1A", "..", "a=b"]),
        ("relaxed env", relaxed_env_var_name, &["1 A!"], &["", "a=b", "é"]),
        ("config key", config_map_key, &["a.b_c", ".x"], &["", ".", "..", "..a", "a/b"]),
    ];
    for (name, check, good, bad) in cases {
        for g in *good {
            assert_eq!(check(g), Vec::<String>::new(), "{name} {g:?}");
        }
        for b in *bad {
            assert!(!check(b).is_empty(), "{name} {b:?}");
        }
    }
}

#[test]
fn messages() {
    assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
    assert_eq!(
        dns1123_subdomain("A"),
        [
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ]
    );
    assert_eq!(
        qualified_name("a_")[0],
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    );
    assert_eq!(in_range(0, 1, 65535), ["must be between 1 and 65535, inclusive"]);
}

#[test]
fn prefixes() {
    assert!(name_is_dns_subdomain("web-", true).is_empty());
    assert!(!name_is_dns_subdomain("web-", false).is_empty());
    assert!(!name_is_dns_subdomain("-", true).is_empty());
    assert!(!path_segment_name("a/b", false).is_empty());
}

#[test]
fn addresses() {
    let p = Path::new("ip");
    let text = |errs: ErrorList| errs.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    for (s, lenient, strict) in [
        ("10.0.0.1", "", ""),
        ("2001:db8::1", "", ""),
        ("010.0.0.1", "", "ip: Invalid value: \"010.0.0.1\": must not have leading 0s"),
        ("::ffff:1.2.3.4", "", "ip: Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address"),
        ("2001:DB8::1", "", "ip: Invalid value: \"2001:DB8::1\": must be in canonical form (\"2001:db8::1\")"),
        (
            "1.2.3",
            "ip: Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "ip: Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
    ] {
        assert_eq!(text(ip_legacy(&p, s, false, &[])), lenient, "{s}");
        assert_eq!(text(ip(&p, s)), strict, "{s}");
    }
    for (s, lenient, strict) in [
        ("10.0.0.0/8", true, true),
        ("10.0.0.1/8", true, false),
        ("10.0.0.0/08", true, false),
        ("::/0", true, true),
        ("10.0.0.0/33", false, false),
        ("10.0.0.0", false, false),
    ] {
        assert_eq!(cidr_legacy(&p, s, false, &[]).is_empty(), lenient, "{s}");
        assert_eq!(cidr(&p, s).is_empty(), strict, "{s}");
    }
    assert_eq!(text(ip_legacy(&p, "01.2.3.4", true, &["01.2.3.4"])), "");
}
