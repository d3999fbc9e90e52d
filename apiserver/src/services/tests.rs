//! Tests of `services`.

use super::*;
use machinery::json;

fn state() -> State {
    State { ranges: vec![IpRange::new("10.96.0.0/28".parse().unwrap())], ports: PortRange::new(30000, 30019) }
}

fn run(state: &mut State, svc: &mut Value, old: Option<&Value>) -> Result<Held, String> {
    if let Some(old) = old {
        spec::carry_over(svc, old);
    }
    spec::normalize(svc, old);
    spec::default_families(svc, old, &[false]).map_err(|e| e.to_string())?;
    let mut taken = Held::default();
    let before = old.map(Held::of).unwrap_or_default();
    match take(state, svc, &before, &mut taken) {
        Ok(()) => Ok(taken),
        Err(e) => {
            state.free(&taken);
            Err(e.to_string())
        }
    }
}

#[test]
fn addresses_and_ports_are_taken_once() {
    let mut s = state();
    let mut a = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.5", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30007}]}});
    run(&mut s, &mut a, None).unwrap();
    assert_eq!(a["spec"]["clusterIPs"], json!(["10.96.0.5"]));
    assert_eq!(a["spec"]["ipFamilies"], json!(["IPv4"]));
    for (name, mut svc, want) in [
        ("taken address", json!({"spec": {"clusterIP": "10.96.0.5"}}), "provided IP is already allocated"),
        ("outside", json!({"spec": {"clusterIP": "10.97.0.5"}}), "The range of valid IPs is 10.96.0.0/28"),
        (
            "taken port",
            json!({"spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": 30007}]}}),
            "provided port is already allocated",
        ),
        (
            "bad port",
            json!({"spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]}}),
            "The range of valid ports is 30000-30019",
        ),
    ] {
        let e = run(&mut s, &mut svc, None).unwrap_err();
        assert!(e.contains(want), "{name}: {e}");
    }
    // An update that leaves out what the server chose keeps it.
    let mut b = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}});
    assert_eq!(run(&mut s, &mut b, Some(&a)).unwrap(), Held::default());
    assert_eq!(b["spec"]["ports"][0]["nodePort"], 30007);
    // One port number for two protocols of one Service.
    let mut c =
        json!({"spec": {"type": "NodePort", "ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
    run(&mut s, &mut c, None).unwrap();
    assert_eq!(c["spec"]["ports"][0]["nodePort"], c["spec"]["ports"][1]["nodePort"]);
}

#[test]
fn a_full_range_says_so_and_a_release_helps() {
    let mut s = state();
    let mut first = json!({"spec": {}});
    run(&mut s, &mut first, None).unwrap();
    for _ in 0..13 {
        run(&mut s, &mut json!({"spec": {}}), None).unwrap();
    }
    assert!(run(&mut s, &mut json!({"spec": {}}), None).unwrap_err().contains("range is full"));
    s.free(&Held::of(&first));
    run(&mut s, &mut json!({"spec": {}}), None).unwrap();
}
