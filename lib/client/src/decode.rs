//! Typed objects from JSON. Go writes `null` for a time that was never set, and anybody may leave one out of a condition; the
//! generated types take no null there. One such object must not keep an informer from all others, so nulls are then read as Go
//! reads them: as the zero value.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Go's zero `time.Time`.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

pub fn decode<K: DeserializeOwned>(json: &[u8]) -> serde_json::Result<K> {
    serde_json::from_slice(json).or_else(|e| {
        let mut tree: Value = serde_json::from_slice(json)?;
        zero_nulls(&mut tree);
        serde_json::from_value(tree).map_err(|_| e)
    })
}

fn zero_nulls(v: &mut Value) {
    match v {
        Value::Object(map) => {
            let time = |k: &str| k.ends_with("Time") || k.ends_with("Timestamp");
            map.retain(|k, v| !v.is_null() || time(k));
            for v in map.values_mut() {
                if v.is_null() { *v = ZERO_TIME.into() } else { zero_nulls(v) }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(zero_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

    #[test]
    fn times_never_set() {
        let json = br#"{"metadata": {"name": "s", "creationTimestamp": null}, "spec": {"ports": null},
            "status": {"conditions": [{"type": "T", "status": "True", "reason": "R", "message": "", "lastTransitionTime": null}]}}"#;
        let s: Service = decode(json).expect("service");
        let conditions: Vec<Condition> = s.status.and_then(|s| s.conditions).unwrap_or_default();
        assert_eq!(conditions[0].last_transition_time.0.to_string(), ZERO_TIME);
        assert!(decode::<Service>(br#"{"metadata": {"name": 1}}"#).is_err());
    }
}
