//! Levels and versions, as namespace labels give them. Upstream: pod-security-admission/api/helpers.go.

use machinery::field::{Error, ErrorList, Path};
use machinery::{Map, Value};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LevelVersion {
    pub level: Level,
    /// The minor of `v1.N`; `None` is `latest`.
    pub version: Option<u32>,
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What a namespace enforces, and what it warns of.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub enforce: LevelVersion,
    pub warn: LevelVersion,
}

impl Policy {
    pub(super) fn is_privileged(&self) -> bool {
        self.enforce.level == Level::Privileged && self.warn.level == Level::Privileged
    }

    /// The policy, and what is wrong with the labels. A wrong enforce level counts as restricted.
    pub(super) fn of(labels: &Map<String, Value>) -> (Self, ErrorList) {
        let mut errors = ErrorList::new();
        let mut read = |mode: &str, fallback: Level| {
            let key = format!("pod-security.kubernetes.io/{mode}");
            let version_key = format!("{key}-version");
            let level = labels.get(&key).and_then(Value::as_str);
            let parsed = level.map(|l| parse_level(l).ok_or(l));
            if let Some(Err(l)) = parsed {
                errors.push(invalid(&key, l, "must be one of privileged, baseline, restricted"));
            }
            let version = labels.get(&version_key).and_then(Value::as_str);
            let parsed_version = version.map(|v| parse_version(v).ok_or(v));
            if let Some(Err(v)) = parsed_version {
                errors.push(invalid(&version_key, v, "must be \"latest\" or \"v1.x\""));
            }
            let explicit = matches!(parsed, Some(Ok(_)));
            let level = parsed.map_or(Level::Privileged, |l| l.unwrap_or(fallback));
            let version = parsed_version.and_then(|v| v.unwrap_or(None));
            (LevelVersion { level, version }, explicit, labels.contains_key(&key), labels.contains_key(&version_key))
        };
        let (enforce, enforced, ..) = read("enforce", Level::Restricted);
        // The audit mode has no effect without an audit log, but its labels must be right.
        read("audit", Level::Privileged);
        let (mut warn, _, has_warn, has_warn_version) = read("warn", Level::Privileged);
        if !has_warn && enforced && enforce.level > warn.level {
            warn.level = enforce.level;
            if !has_warn_version {
                warn.version = enforce.version;
            }
        }
        (Self { enforce, warn }, errors)
    }
}

fn invalid(key: &str, value: &str, why: &str) -> Error {
    Error::invalid(&Path::new("metadata").child("labels").key(key), value, why)
}

fn parse_level(s: &str) -> Option<Level> {
    match s {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

/// `latest`, or `v1.N`.
fn parse_version(s: &str) -> Option<Option<u32>> {
    if s == "latest" {
        return Some(None);
    }
    let minor = s.strip_prefix("v1.")?;
    let plain = minor == "0" || (!minor.starts_with('0') && minor.bytes().all(|b| b.is_ascii_digit()));
    (plain && !minor.is_empty()).then(|| minor.parse().ok()).flatten().map(Some)
}
