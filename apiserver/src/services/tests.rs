//! Tests of `services`: what needs no store. The rest is in the crate's tests.

use super::ip::IpRange;
use super::port::PortRange;
use super::*;
use machinery::json;

fn ports(range: &mut PortRange, svc: &mut Value, old: Option<&Value>) -> Result<Vec<u16>, String> {
    if let Some(old) = old {
        spec::carry_over(svc, old);
    }
    let before = old.map(Held::of).unwrap_or_default();
    let mut taken = Vec::new();
    port::take(range, svc, &before.ports, &mut taken).map(|()| taken).map_err(|e| e.to_string())
}

#[test]
fn ports_are_taken_once() {
    let mut range = PortRange::new(30000, 30019);
    let mut a = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30007}]}});
    ports(&mut range, &mut a, None).unwrap();
    for (name, port, want) in
        [("taken", 30007, "provided port is already allocated"), ("outside", 80, "The range of valid ports is 30000-30019")]
    {
        let mut svc = json!({"spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": port}]}});
        let e = ports(&mut range, &mut svc, None).unwrap_err();
        assert!(e.contains(want), "{name}: {e}");
    }
    // An update that leaves out what the server chose keeps it.
    let mut b = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}});
    assert_eq!(ports(&mut range, &mut b, Some(&a)).unwrap(), Vec::<u16>::new());
    assert_eq!(b["spec"]["ports"][0]["nodePort"], 30007);
    // One port number for two protocols of one Service.
    let mut c =
        json!({"spec": {"type": "NodePort", "ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
    ports(&mut range, &mut c, None).unwrap();
    assert_eq!(c["spec"]["ports"][0]["nodePort"], c["spec"]["ports"][1]["nodePort"]);
}

#[test]
fn every_address_of_a_range_is_tried() {
    for (cidr, usable, low) in [("10.0.0.0/28", 14, 0), ("10.0.0.0/24", 254, 16), ("2001:db8::/120", 255, 16)] {
        let range = IpRange::new(cidr.parse().unwrap());
        let all: Vec<IpAddr> = range.candidates().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), usable, "{cidr}");
        let offset = |ip: &IpAddr| match ip {
            IpAddr::V4(a) => usize::from(a.octets()[3]),
            IpAddr::V6(a) => usize::from(a.octets()[15]),
        };
        assert!(all[..usable - low].iter().all(|ip| offset(ip) > low), "{cidr}: the lower part comes last");
    }
}
