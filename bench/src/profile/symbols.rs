//! Functions of a program by address: what `nm` tells.

use super::stacks::shorten;
use std::path::Path;
use std::process::Command;

/// Sorted by address, which is that in the file.
pub struct Symbols(Vec<(u64, String)>);

impl Symbols {
    pub fn of(program: &Path) -> Result<Self, String> {
        let out = Command::new("nm").args(["-C", "--defined-only"]).arg(program).output().map_err(|e| format!("nm: {e}"))?;
        let all = Self::parse(&String::from_utf8_lossy(&out.stdout));
        if all.0.is_empty() { Err(format!("{} has no symbols", program.display())) } else { Ok(all) }
    }

    pub fn parse(text: &str) -> Self {
        let symbol = |line: &str| {
            let (address, rest) = line.split_once(' ')?;
            let (kind, name) = rest.split_once(' ')?;
            "tTwW".contains(kind).then_some(())?;
            Some((u64::from_str_radix(address, 16).ok()?, shorten(name)))
        };
        let mut all: Vec<_> = text.lines().filter_map(symbol).collect();
        all.sort();
        Self(all)
    }

    /// The function that an address is in.
    pub fn find(&self, address: u64) -> Option<&str> {
        let after = self.0.partition_point(|(a, _)| *a <= address);
        self.0.get(after.checked_sub(1)?).map(|(_, name)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Symbols;

    #[test]
    fn an_address_is_in_the_function_before_it() {
        let s =
            Symbols::parse("0000000000000200 T b::f::h0123456789abcdef\n0000000000000100 t a<T>::f\n0000000000000180 d data\n");
        for (address, want) in [(0xff, None), (0x100, Some("a<..>::f")), (0x1ff, Some("a<..>::f")), (0x900, Some("b::f"))] {
            assert_eq!(s.find(address), want, "{address:x}");
        }
    }
}
