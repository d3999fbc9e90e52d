//! Query parameters, decoded once per request.

use machinery::Status;

/// Parameters in the order given; the first of a name counts, as in Go's `url.Values.Get`.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(raw: &str) -> Self {
        Self(
            raw.split('&')
                .filter(|p| !p.is_empty())
                .map(|p| {
                    let (k, v) = p.split_once('=').unwrap_or((p, ""));
                    (decode(k, true), decode(v, true))
                })
                .collect(),
        )
    }
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
    /// The value, `""` where absent.
    pub fn str(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == name).map(|(_, v)| v.as_str())
    }
    /// A boolean as upstream's conversion reads it: present and neither `false` nor `0` is true.
    pub fn bool(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }
    /// As [`Self::bool`], telling absent apart.
    pub fn opt_bool(&self, name: &str) -> Option<bool> {
        self.get(name).map(|_| self.bool(name))
    }
    /// An integer; what does not parse is a bad request.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(v) => {
                v.parse().map(Some).map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {v:?}: invalid syntax")))
            }
        }
    }
}

/// Percent-decodes; bytes that are no UTF-8 become the replacement character.
pub fn decode(s: &str, plus_is_space: bool) -> String {
    let plain = |b: u8| b != b'%' && (b != b'+' || !plus_is_space);
    if s.bytes().all(plain) {
        return s.to_owned();
    }
    let bytes = s.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        match bytes[i] {
            b'%' if i + 2 < bytes.len() => match (hex(bytes[i + 1]), hex(bytes[i + 2])) {
                (Some(h), Some(l)) => {
                    out.push(h * 16 + l);
                    i += 3;
                    continue;
                }
                _ => out.push(b'%'),
            },
            b'+' if plus_is_space => out.push(b' '),
            b => out.push(b),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_as_go_does() {
        let q = Query::parse("a=1&b=x%20y+z&watch&c=%zz&d=%4");
        for (k, v) in [("a", "1"), ("b", "x y z"), ("watch", ""), ("c", "%zz"), ("d", "%4")] {
            assert_eq!(q.get(k), Some(v), "{k}");
        }
        assert!(q.bool("watch") && !q.bool("nope"));
    }
}
