//! Tests of `plan`: what a change of a Service touches, and what it leaves alone.

use super::*;

fn port(endpoints: &[(&str, u16)]) -> ServicePort {
    ServicePort {
        protocol: 6,
        port: 80,
        cluster_ip: "10.96.0.7".parse().ok(),
        endpoints: endpoints.iter().map(|(ip, p)| (ip.parse().expect("an address"), *p)).collect(),
        ..ServicePort::default()
    }
}

fn change(s: &mut State, name: &str, want: Option<ServicePort>) -> Vec<Op> {
    s.change(vec![(name.to_owned(), want)])
}

#[test]
fn a_new_service_makes_its_chain_before_the_element_that_leads_to_it() {
    let mut s = State::new(None);
    let ops = change(&mut s, "ns/a:", Some(port(&[("10.244.0.5", 8080)])));
    let chain = ops.iter().position(|o| *o == Op::AddChain("c1".into())).expect("a chain");
    let goto = ops.iter().position(|o| matches!(o, Op::Add(Element::Service { .. }))).expect("an element");
    assert!(chain < goto);
    assert!(ops.contains(&Op::Add(Element::Hairpin("10.244.0.5".parse().expect("an address")))));
}

#[test]
fn an_endpoint_more_changes_only_what_it_must() {
    let mut s = State::new(None);
    change(&mut s, "ns/a:", Some(port(&[("10.244.0.5", 8080)])));
    let ops = change(&mut s, "ns/a:", Some(port(&[("10.244.0.5", 8080), ("10.244.0.6", 8080)])));
    assert!(!ops.iter().any(|o| matches!(o, Op::Delete(_) | Op::DeleteChain(_) | Op::AddChain(_))), "{ops:?}");
    let rules: Vec<_> = ops.iter().filter(|o| matches!(o, Op::AddRule { .. })).collect();
    assert_eq!(rules.len(), 1, "{ops:?}");
    assert!(
        change(&mut s, "ns/a:", Some(port(&[("10.244.0.5", 8080), ("10.244.0.6", 8080)]))).is_empty(),
        "no change, no operation"
    );
}

#[test]
fn the_last_endpoint_gone_means_reject_and_the_last_port_gone_means_nothing_left() {
    let mut s = State::new(None);
    change(&mut s, "ns/a:", Some(port(&[("10.244.0.5", 8080)])));
    change(&mut s, "ns/b:", Some(port(&[("10.244.0.5", 9090)])));
    let ops = change(&mut s, "ns/a:", Some(port(&[])));
    assert!(ops.iter().any(|o| matches!(o, Op::Add(Element::NoEndpoints { .. }))));
    assert!(!ops.iter().any(|o| matches!(o, Op::Delete(Element::Hairpin(_)))), "the other Service still has the endpoint");
    let gone = change(&mut s, "ns/a:", None);
    assert!(!gone.iter().any(|o| matches!(o, Op::Delete(Element::ClusterIp(_)))), "shared with the other");
    let gone = change(&mut s, "ns/b:", None);
    assert!(gone.iter().any(|o| matches!(o, Op::Delete(Element::ClusterIp(_)))));
    assert!(gone.iter().any(|o| matches!(o, Op::Delete(Element::Hairpin(_)))));
    assert!(s.names_of("ns/a").is_empty() && s.names_of("ns/b").is_empty());
}

#[test]
fn external_policies() {
    let base = ServicePort { node_port: 30007, ..port(&[("10.244.0.5", 80), ("10.244.1.5", 80)]) };
    let local =
        |local: &[(&str, u16)]| ServicePort { external_local: true, local_endpoints: port(local).endpoints, ..base.clone() };
    for (name, p, masquerades_all, drops) in [
        ("Cluster", base.clone(), true, false),
        ("Local with an endpoint here", local(&[("10.244.0.5", 80)]), false, false),
        ("Local without one", local(&[]), false, true),
    ] {
        let ops = change(&mut State::new("10.244.0.0/16".parse().ok()), "ns/a:", Some(p));
        let has = |rule: Rule| ops.iter().any(|o| matches!(o, Op::AddRule { chain, rule: r } if chain == "x1" && *r == rule));
        assert_eq!(has(Rule::Masquerade(From::Anyone)), masquerades_all, "{name}");
        assert_eq!(has(Rule::Drop), drops, "{name}");
    }
}

#[test]
fn affinity_maps_live_as_long_as_the_rules_that_use_them() {
    let sticky = |e: &[(&str, u16)]| ServicePort { affinity: Some(Duration::from_secs(60)), ..port(e) };
    let mut s = State::new(None);
    let ops = change(&mut s, "ns/a:", Some(sticky(&[("10.244.0.5", 80), ("10.244.0.6", 80)])));
    let map = ops.iter().position(|o| matches!(o, Op::AddAffinity { .. })).expect("a map");
    let rule = ops.iter().position(|o| matches!(o, Op::AddRule { .. })).expect("a rule");
    assert!(map < rule);
    let ops = change(&mut s, "ns/a:", Some(sticky(&[("10.244.0.6", 80)])));
    assert!(ops.iter().any(|o| matches!(o, Op::PruneAffinity { keep, .. } if keep.len() == 1)), "{ops:?}");
    let ops = change(&mut s, "ns/a:", Some(port(&[("10.244.0.6", 80)])));
    let flush = ops.iter().position(|o| matches!(o, Op::FlushChain(_))).expect("a flush");
    let map = ops.iter().position(|o| matches!(o, Op::DeleteAffinity { .. })).expect("the map goes");
    assert!(flush < map);
}

/// Keys of the kernel's maps that exist, as operations leave them; a key that is there twice fails as it would in the kernel.
fn keys(held: &mut BTreeSet<String>, mut ops: Vec<Op>) {
    ops.sort_by_key(|op| matches!(op, Op::Add(_)));
    let key = |e: &Element| match e {
        Element::Service { ip, protocol, port, chain } => Some((format!("{ip} {protocol} {port}"), chain.clone())),
        Element::NoEndpoints { ip, protocol, port } => Some((format!("{ip} {protocol} {port}"), "none".to_owned())),
        _ => None,
    };
    for op in &ops {
        match op {
            Op::Add(e) => {
                let Some((k, chain)) = key(e) else { continue };
                assert!(!held.iter().any(|h| h.starts_with(&format!("{k} "))), "{k} is there: {held:?}");
                held.insert(format!("{k} {chain}"));
            }
            Op::Delete(e) => {
                let Some((k, chain)) = key(e) else { continue };
                assert!(held.remove(&format!("{k} {chain}")), "{k} {chain} is not there: {held:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn an_address_that_two_services_ask_for() {
    let with = |cluster: &str, external: &[&str], created: i64| ServicePort {
        cluster_ip: cluster.parse().ok(),
        external_ips: external.iter().filter_map(|ip| ip.parse().ok()).collect(),
        created,
        ..port(&[("10.244.0.5", 80)])
    };
    let young = || with("10.96.0.8", &["1.2.3.4"], 20);
    let mut s = State::new(None);
    let mut held = BTreeSet::new();
    let both = vec![("ns/a:".to_owned(), Some(young())), ("ns/b:".to_owned(), Some(with("10.96.0.9", &["1.2.3.4"], 10)))];
    let steps: Vec<(&str, Vec<(String, Option<ServicePort>)>, &[&str])> = vec![
        ("the older has it", both, &["1.2.3.4 6 80 x2", "10.96.0.8 6 80 c1", "10.96.0.9 6 80 c2"]),
        ("nothing new", vec![("ns/a:".into(), Some(young()))], &["1.2.3.4 6 80 x2", "10.96.0.8 6 80 c1", "10.96.0.9 6 80 c2"]),
        ("the older goes", vec![("ns/b:".into(), None)], &["1.2.3.4 6 80 x1", "10.96.0.8 6 80 c1"]),
        (
            "a cluster IP comes before, even a younger one",
            vec![("ns/c:".into(), Some(with("1.2.3.4", &["1.2.3.4", "10.96.0.8"], 30)))],
            &["1.2.3.4 6 80 c3", "10.96.0.8 6 80 c1"],
        ),
        ("the first goes", vec![("ns/a:".into(), None)], &["1.2.3.4 6 80 c3", "10.96.0.8 6 80 x3"]),
        ("the last goes", vec![("ns/c:".into(), None)], &[]),
    ];
    for (name, wanted, want) in steps {
        keys(&mut held, s.change(wanted));
        assert_eq!(held.iter().map(String::as_str).collect::<Vec<_>>(), want, "{name}");
    }
}
