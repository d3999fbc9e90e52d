//! What a controller wrote and its informer does not show yet. Judged by an older state, work that is done looks undone
//! (KEP-5647). The event of what was written brings the object back to its controller.

use client::Object;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Versions of the objects that were written last, by UID.
#[derive(Default)]
pub struct Written(Mutex<HashMap<String, u64>>);

impl Written {
    /// Takes down what the API server answered to a write.
    pub fn note(&self, object: &impl Object) {
        if let Some(version) = version(object) {
            self.0.lock().insert(object.uid().to_owned(), version);
        }
    }

    /// Something newer than this state was written here.
    pub fn is_newer_than(&self, seen: &impl Object) -> bool {
        let mut written = self.0.lock();
        match (written.get(seen.uid()), version(seen)) {
            (Some(last), Some(version)) if version < *last => true,
            _ => {
                written.remove(seen.uid());
                false
            }
        }
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

/// Versions of one kind of object are numbers that grow (KEP-5504).
fn version(object: &impl Object) -> Option<u64> {
    object.metadata().resource_version.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::batch::v1::Job;

    #[test]
    fn older_states_are_told_from_newer_ones() {
        let job = |uid: &str, version: &str| {
            let mut job = Job::default();
            job.metadata.uid = Some(uid.into());
            job.metadata.resource_version = Some(version.into());
            job
        };
        let written = Written::default();
        written.note(&job("a", "100"));
        for (name, uid, version, newer) in [
            ("older", "a", "99", true),
            ("another object", "b", "1", false),
            ("the one written", "a", "100", false),
            ("known to be seen", "a", "99", false),
        ] {
            assert_eq!(written.is_newer_than(&job(uid, version)), newer, "{name}");
        }
        written.note(&job("a", "101"));
        written.forget("a");
        assert!(!written.is_newer_than(&job("a", "100")));
    }
}
