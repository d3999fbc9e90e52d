//! The resolvers of the node, as `resolv.conf(5)` lists them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// More resolvers than anybody lists.
const MAX: usize = 15;

/// The `nameserver` lines of a file, on port 53; none if it cannot be read.
pub fn nameservers(path: &Path) -> Vec<SocketAddr> {
    std::fs::read_to_string(path).map(|text| parse(&text)).unwrap_or_default()
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().map(|l| l.split(['#', ';']).next().unwrap_or(""));
    let words = lines.filter_map(|l| {
        let mut w = l.split_ascii_whitespace();
        (w.next() == Some("nameserver")).then(|| w.next()).flatten()
    });
    words.filter_map(|ip| ip.parse::<IpAddr>().ok()).map(|ip| SocketAddr::new(ip, 53)).take(MAX).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn files() {
        for (name, text, want) in [
            ("usual", "search a b\nnameserver 10.0.0.2\nnameserver 10.0.0.3 # two\n", &["10.0.0.2:53", "10.0.0.3:53"][..]),
            ("comments", "# nameserver 1.1.1.1\n;nameserver 1.1.1.1\n", &[]),
            ("IPv6", "nameserver fd00::1", &["[fd00::1]:53"]),
            ("rubbish", "nameserver\nnameserver x\nnameservers 1.1.1.1", &[]),
        ] {
            let got: Vec<String> = super::parse(text).iter().map(ToString::to_string).collect();
            assert_eq!(got, want, "{name}");
        }
    }
}
