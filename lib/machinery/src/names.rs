//! `generateName`: a base and five random characters, never longer than a DNS label.

use crate::hash::ALPHABET;
use rand::{Rng, RngExt};

/// Longest generated name.
pub const MAX_NAME_LENGTH: usize = 63;
/// Characters added to `generateName`.
pub const RANDOM_LENGTH: usize = 5;

/// `n` characters of the safe alphabet.
pub fn random_string(n: usize, rng: &mut impl Rng) -> String {
    (0..n).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// `base` cut to leave room, and five random characters.
pub fn generate_name_with(base: &str, rng: &mut impl Rng) -> String {
    let mut end = base.len().min(MAX_NAME_LENGTH - RANDOM_LENGTH);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &base[..end], random_string(RANDOM_LENGTH, rng))
}

/// The same with the thread's random generator.
pub fn generate_name(base: &str) -> String {
    generate_name_with(base, &mut rand::rng())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape() {
        for (base, want_base) in [("web-", "web-".to_owned()), (&"x".repeat(100), "x".repeat(58))] {
            let name = generate_name(base);
            let suffix = name.strip_prefix(&want_base).expect("keeps the base");
            assert_eq!(suffix.len(), RANDOM_LENGTH);
            assert!(suffix.bytes().all(|b| ALPHABET.contains(&b)), "{name}");
        }
    }
}
