//! From the number of replicas that metrics ask for to the number that is set: bounds, recent recommendations, rates of change
//! (normalizeDesiredReplicas in pkg/controller/podautoscaler/horizontal.go).

use machinery::Value;
use machinery::meta::{i64_at, list_at, str_at};
use tokio::time::{Duration, Instant};

/// --horizontal-pod-autoscaler-downscale-stabilization.
const DOWNSCALE_STABILIZATION: i64 = 300;

/// What was recommended and done lately, per autoscaler.
#[derive(Default)]
pub struct Past {
    recommendations: Vec<(Instant, i64)>,
    /// Replicas added and removed.
    ups: Vec<(Instant, i64)>,
    downs: Vec<(Instant, i64)>,
}

/// The outcome: the number, and the conditions AbleToScale (reason, message) and ScalingLimited (status, reason, message).
#[derive(Debug, PartialEq)]
pub struct Decision {
    pub replicas: i64,
    pub able: (&'static str, &'static str),
    pub limited: (bool, &'static str, &'static str),
}

/// The numbers that a decision is made of.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    pub current: i64,
    pub desired: i64,
    pub min: i64,
    pub max: i64,
}

const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_MANY: (&str, &str) = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const UP_LIMIT: (&str, &str) = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: (&str, &str) = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const HIGHER: (&str, &str) =
    ("ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation");
const LOWER: (&str, &str) =
    ("ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation");

fn seconds(n: i64) -> Duration {
    Duration::from_secs(u64::try_from(n).unwrap_or(0))
}

/// Whether something happened within the last `n` seconds.
fn within(at: Instant, n: i64, now: Instant) -> bool {
    now.duration_since(at) < seconds(n)
}

fn changed(events: &[(Instant, i64)], period: i64, now: Instant) -> i64 {
    events.iter().filter(|(at, _)| within(*at, period, now)).map(|(_, n)| n).sum()
}

impl Past {
    /// The first look at an autoscaler takes the present number as recommended.
    pub fn begin(&mut self, current: i64, now: Instant) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    /// A change was made.
    pub fn scaled(&mut self, from: i64, to: i64, behavior: &Value, now: Instant) {
        let (events, side) = if to > from { (&mut self.ups, "scaleUp") } else { (&mut self.downs, "scaleDown") };
        let periods = list_at(behavior, &[side, "policies"]).iter().filter_map(|p| i64_at(p, &["periodSeconds"]));
        let longest = periods.max().unwrap_or(0);
        events.retain(|(at, _)| within(*at, longest, now));
        events.push((now, (to - from).abs()));
    }

    /// What is to be set. `behavior` is the defaulted `spec.behavior`, or null.
    pub fn decide(&mut self, n: Numbers, behavior: &Value, now: Instant) -> Decision {
        let plain = behavior.is_null();
        let window = |side: &str, default: i64| i64_at(behavior, &[side, "stabilizationWindowSeconds"]).unwrap_or(default);
        let (up, down) = if plain {
            (0, DOWNSCALE_STABILIZATION)
        } else {
            (window("scaleUp", 0), window("scaleDown", DOWNSCALE_STABILIZATION))
        };
        let recent = |period: i64| self.recommendations.iter().filter(move |(at, _)| within(*at, period, now)).map(|(_, r)| *r);
        let highest = recent(down).chain([n.desired]).max().unwrap_or(n.desired);
        let stable = if plain {
            highest
        } else {
            let lowest = recent(up).chain([n.desired]).min().unwrap_or(n.desired);
            n.current.max(lowest).min(highest)
        };
        self.recommendations.retain(|(at, _)| within(*at, up.max(down), now));
        self.recommendations.push((now, n.desired));
        let able = match () {
            () if stable == n.desired => READY,
            () if !plain && n.desired >= n.current => LOWER,
            () => HIGHER,
        };
        let (replicas, (reason, message)) = if plain { bounded(n, stable) } else { self.limited(n, stable, behavior, now) };
        Decision { replicas, able, limited: (replicas != stable, reason, message) }
    }

    fn limited(&self, n: Numbers, desired: i64, behavior: &Value, now: Instant) -> (i64, (&'static str, &'static str)) {
        if desired > n.current {
            let limit = self.limit("scaleUp", n.current, behavior, now).max(n.current);
            let (most, why) = if n.max > limit { (limit, UP_LIMIT) } else { (n.max, TOO_MANY) };
            if desired > most {
                return (most, why);
            }
        } else if desired < n.current {
            let limit = self.limit("scaleDown", n.current, behavior, now).min(n.current);
            let (least, why) = if n.min < limit { (limit, DOWN_LIMIT) } else { (n.min, TOO_FEW) };
            if desired < least {
                return (least, why);
            }
        }
        (desired, WITHIN)
    }

    /// The farthest that policies let the number go in one direction.
    fn limit(&self, side: &str, current: i64, behavior: &Value, now: Instant) -> i64 {
        let up = side == "scaleUp";
        let select = str_at(behavior, &[side, "selectPolicy"]);
        if select == "Disabled" {
            return current;
        }
        let proposals = list_at(behavior, &[side, "policies"]).iter().map(|p| {
            let (value, period) = (i64_at(p, &["value"]).unwrap_or(0), i64_at(p, &["periodSeconds"]).unwrap_or(0));
            let start = current - changed(&self.ups, period, now) + changed(&self.downs, period, now);
            match (str_at(p, &["type"]), up) {
                ("Pods", true) => start + value,
                ("Pods", false) => start - value,
                // Rounded so that a small number changes at all.
                (_, true) => (start * (100 + value) + 99).div_euclid(100),
                (_, false) => start * (100 - value) / 100,
            }
        });
        // The policy that allows most change, unless the one that allows least is asked for.
        let farthest = if up == (select != "Min") { proposals.max() } else { proposals.min() };
        farthest.unwrap_or(current)
    }
}

/// Without rules of its own an autoscaler at most doubles, or goes to four.
fn bounded(n: Numbers, desired: i64) -> (i64, (&'static str, &'static str)) {
    let limit = (n.current * 2).max(4);
    let (most, why) = if n.max > limit { (limit, UP_LIMIT) } else { (n.max, TOO_MANY) };
    match desired {
        d if d < n.min => (n.min, TOO_FEW),
        d if d > most => (most, why),
        d => (d, WITHIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn changes_are_paced() {
        let rules = |up: Value, down: Value| json!({"scaleUp": up, "scaleDown": down});
        let pods = |n: i64| json!({"type": "Pods", "value": n, "periodSeconds": 60});
        let percent = |n: i64| json!({"type": "Percent", "value": n, "periodSeconds": 60});
        let quick = rules(
            json!({"selectPolicy": "Max", "policies": [pods(2), percent(10)], "stabilizationWindowSeconds": 0}),
            json!({"selectPolicy": "Min", "policies": [pods(1), percent(50)], "stabilizationWindowSeconds": 0}),
        );
        let off = rules(
            json!({"selectPolicy": "Disabled", "policies": [pods(2)]}),
            json!({"selectPolicy": "Max", "policies": [percent(100)]}),
        );
        for (name, behavior, current, desired, want, reason) in [
            ("within", Value::Null, 3, 5, 5, "DesiredWithinRange"),
            ("at most double", Value::Null, 3, 9, 6, "ScaleUpLimit"),
            ("at most the maximum", Value::Null, 8, 12, 10, "TooManyReplicas"),
            ("not below what was recommended lately", Value::Null, 6, 1, 6, "DesiredWithinRange"),
            ("two pods a minute", quick.clone(), 3, 9, 5, "ScaleUpLimit"),
            ("the smaller policy down", quick.clone(), 6, 2, 5, "ScaleDownLimit"),
            ("disabled up", off, 3, 9, 3, "ScaleUpLimit"),
        ] {
            let mut past = Past::default();
            let now = Instant::now();
            past.begin(current, now);
            let d = past.decide(Numbers { current, desired, min: 1, max: 10 }, &behavior, now);
            assert_eq!((d.replicas, d.limited.1), (want, reason), "{name}");
        }
        let mut past = Past::default();
        past.begin(6, Instant::now());
        tokio::time::advance(Duration::from_secs(301)).await;
        let numbers = Numbers { current: 6, desired: 1, min: 2, max: 10 };
        let d = past.decide(numbers, &Value::Null, Instant::now());
        assert_eq!((d.replicas, d.able.0, d.limited.1), (2, "ReadyForNewScale", "TooFewReplicas"), "after five minutes");
        past.scaled(3, 5, &quick, Instant::now());
        let d = past.decide(Numbers { current: 5, desired: 9, ..numbers }, &quick, Instant::now());
        assert_eq!(d.replicas, 5, "the minute's change is used up");
        tokio::time::advance(Duration::from_secs(61)).await;
        let d = past.decide(Numbers { current: 5, desired: 9, ..numbers }, &quick, Instant::now());
        assert_eq!(d.replicas, 7, "the next minute");
    }
}
