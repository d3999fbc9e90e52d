//! What was measured, round by round, and how Skiff stands to stock in it: text and JSON.

use super::servers::System;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Whether more is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

/// One thing that was measured of each system.
pub struct Row {
    pub part: &'static str,
    pub what: String,
    pub unit: &'static str,
    better: Better,
    rounds: BTreeMap<System, Vec<f64>>,
}

/// How many times better than stock: in the median round, the worst and the best.
#[derive(Clone, Copy)]
pub struct Ratio {
    pub median: f64,
    pub worst: f64,
    pub best: f64,
}

fn median(values: &[f64]) -> f64 {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    match v.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => v[n / 2],
        n => f64::midpoint(v[n / 2 - 1], v[n / 2]),
    }
}

impl Row {
    /// Each round of Skiff's against the same round of stock's: what else the machine did then weighed on both.
    pub fn ratio(&self, system: System) -> Option<Ratio> {
        let (ours, stock) = (self.rounds.get(&system)?, self.rounds.get(&System::Stock)?);
        let mut ratios: Vec<f64> = ours
            .iter()
            .zip(stock)
            .map(|(o, s)| if self.better == Better::Higher { o / s } else { s / o })
            .filter(|r| r.is_finite())
            .collect();
        ratios.sort_by(f64::total_cmp);
        Some(Ratio { median: median(&ratios), worst: *ratios.first()?, best: *ratios.last()? })
    }
}

/// All rows, in the order in which they were first measured.
#[derive(Default)]
pub struct Table(pub Vec<Row>);

/// Three significant digits.
pub fn short(x: f64) -> String {
    match x.abs() {
        a if !a.is_finite() => "-".into(),
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        a if a >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}

impl Table {
    /// Adds one round's value.
    pub fn add(&mut self, part: &'static str, what: &str, unit: &'static str, better: Better, system: System, value: f64) {
        let at = self.0.iter().position(|r| r.part == part && r.what == what && r.unit == unit);
        let at = at.unwrap_or_else(|| {
            self.0.push(Row { part, what: what.to_owned(), unit, better, rounds: BTreeMap::new() });
            self.0.len() - 1
        });
        self.0[at].rounds.entry(system).or_default().push(value);
    }

    /// A table in Markdown: medians, and in the last columns how many times better than stock Skiff is (worst to best round).
    pub fn text(&self) -> String {
        let mut out = String::new();
        let cell = |r: &Row, s: System| r.rounds.get(&s).map_or("-".into(), |v| short(median(v)));
        let times = |r: &Row, s: System| {
            r.ratio(s).map_or("-".into(), |x| format!("{} x ({} to {})", short(x.median), short(x.worst), short(x.best)))
        };
        let mut part = "";
        for row in &self.0 {
            if row.part != part {
                part = row.part;
                let _ = writeln!(
                    out,
                    "\n**{part}**\n\n| what | unit | skiff | skiff on etcd | stock | skiff is better by | on etcd by |"
                );
                let _ = writeln!(out, "|---|---|---:|---:|---:|---:|---:|");
            }
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} |",
                row.what,
                row.unit,
                cell(row, System::Skiff),
                cell(row, System::SkiffEtcd),
                cell(row, System::Stock),
                times(row, System::Skiff),
                times(row, System::SkiffEtcd),
            );
        }
        out
    }

    pub fn to_json(&self) -> Value {
        let ratio = |r: &Row, s: System| r.ratio(s).map(|x| json!({"median": x.median, "worst": x.worst, "best": x.best}));
        self.0
            .iter()
            .map(|r| {
                let rounds: serde_json::Map<String, Value> =
                    r.rounds.iter().map(|(s, v)| (s.name().to_owned(), json!(v))).collect();
                json!({
                    "part": r.part, "what": r.what, "unit": r.unit, "higherIsBetter": r.better == Better::Higher, "rounds": rounds,
                    "timesBetter": {"skiff": ratio(r, System::Skiff), "skiff on etcd": ratio(r, System::SkiffEtcd)},
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_compared_in_pairs() {
        let mut t = Table::default();
        for (ours, stock) in [(200.0, 100.0), (300.0, 50.0), (90.0, 30.0)] {
            t.add("p", "rate", "1/s", Better::Higher, System::Skiff, ours);
            t.add("p", "rate", "1/s", Better::Higher, System::Stock, stock);
            t.add("p", "time", "ms", Better::Lower, System::Skiff, stock);
            t.add("p", "time", "ms", Better::Lower, System::Stock, ours);
        }
        for row in &t.0 {
            let r = row.ratio(System::Skiff).expect("both were measured");
            assert_eq!((r.worst, r.median, r.best), (2.0, 3.0, 6.0), "{}", row.what);
        }
        assert!(t.0[0].ratio(System::SkiffEtcd).is_none(), "not measured");
        assert!(t.text().contains("| rate | 1/s | 200 | - | 50.0 | 3.00 x (2.00 to 6.00) | - |"), "{}", t.text());
    }
}
