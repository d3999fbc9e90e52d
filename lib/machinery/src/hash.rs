//! Hashes and alphabets that appear in names: FNV-1a and the vowel-less alphabet of random suffixes.

/// No vowels and no look-alikes, so that random suffixes spell nothing.
pub const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1a, 32 bits.
pub fn fnv32a(data: &[u8]) -> u32 {
    data.iter().fold(0x811c_9dc5, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

/// FNV-1a, 64 bits.
pub fn fnv64a(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Maps each character into the safe alphabet, as `rand.SafeEncodeString`.
pub fn safe_encode(s: &str) -> String {
    s.chars().map(|c| char::from(ALPHABET[c as usize % ALPHABET.len()])).collect()
}

/// The hash that goes into `pod-template-hash` and the like: FNV-1a, in decimal, safely encoded.
pub fn name_hash(data: &[u8]) -> String {
    safe_encode(&fnv32a(data).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(fnv32a(b""), 0x811c_9dc5);
        assert_eq!(fnv32a(b"foobar"), 0xbf9c_f968);
        assert_eq!(fnv64a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(safe_encode("0123456789"), "456789bcdf");
    }
}
