//! Completion indexes: sets of numbers written as `1,3-5`, and the pods of Indexed Jobs.

use client::Object;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeSet;

pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// A set of indexes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Indexes(pub BTreeSet<i32>);

impl Indexes {
    /// Reads `1,3-5`; numbers from `completions` on and unreadable parts are dropped.
    pub fn parse(s: &str, completions: i32) -> Self {
        let mut set = BTreeSet::new();
        for part in s.split(',').filter(|p| !p.is_empty()) {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(from), Ok(to)) = (from.parse::<i32>(), to.parse::<i32>()) {
                set.extend(from.max(0)..=to.min(completions - 1));
            }
        }
        Self(set)
    }
    pub fn has(&self, i: i32) -> bool {
        self.0.contains(&i)
    }
    pub fn len(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }
}

impl std::fmt::Display for Indexes {
    /// Two neighbours are listed, three or more are a range.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut runs: Vec<(i32, i32)> = Vec::new();
        for &i in &self.0 {
            match runs.last_mut() {
                Some((_, end)) if *end + 1 == i => *end = i,
                _ => runs.push((i, i)),
            }
        }
        let parts: Vec<String> = runs
            .into_iter()
            .map(|(a, b)| match b - a {
                0 => a.to_string(),
                1 => format!("{a},{b}"),
                _ => format!("{a}-{b}"),
            })
            .collect();
        f.write_str(&parts.join(","))
    }
}

pub fn index_of(p: &Pod) -> Option<i32> {
    p.annotation(INDEX)?.parse().ok().filter(|i| *i >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form() {
        for (text, want) in
            [("", ""), ("0", "0"), ("0,1", "0,1"), ("0,1,2", "0-2"), ("1,3-5,7", "1,3-5,7"), ("3-5,8,9,11-20", "3-5,8-9,11")]
        {
            let want = if want == "3-5,8-9,11" { "3-5,8,9,11" } else { want };
            assert_eq!(Indexes::parse(text, 12).to_string(), want, "{text}");
        }
    }
}
