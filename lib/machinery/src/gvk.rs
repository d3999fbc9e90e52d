//! Names of groups, versions, kinds and resources. The core group is the empty string.

use std::fmt;

macro_rules! name_pair {
    ($(#[$m:meta])* $t:ident { $($f:ident),+ }) => {
        $(#[$m])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $t { $(pub $f: String),+ }
        impl $t {
            pub fn new($($f: impl Into<String>),+) -> Self { Self { $($f: $f.into()),+ } }
        }
    };
}

name_pair!(
    /// `apps`, `v1`.
    GroupVersion { group, version }
);
name_pair!(
    /// `apps`, `v1`, `Deployment`.
    GroupVersionKind { group, version, kind }
);
name_pair!(
    /// `apps`, `v1`, `deployments`.
    GroupVersionResource { group, version, resource }
);
name_pair!(
    /// `apps`, `deployments`.
    GroupResource { group, resource }
);

impl GroupVersion {
    /// Parses `v1` or `apps/v1`, as `apiVersion` is written. `None` where there is more than one slash.
    pub fn parse(api_version: &str) -> Option<Self> {
        match api_version.split_once('/') {
            None => Some(Self::new("", api_version)),
            Some((_, v)) if v.contains('/') => None,
            Some((g, v)) => Some(Self::new(g, v)),
        }
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.version) } else { write!(f, "{}/{}", self.group, self.version) }
    }
}

impl fmt::Display for GroupResource {
    /// `deployments.apps`, or `pods` in the core group.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.resource) } else { write!(f, "{}.{}", self.resource, self.group) }
    }
}

impl fmt::Display for GroupVersionKind {
    /// `/v1, Kind=Pod`: the slash stays where the group is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

impl GroupVersionKind {
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion::new(&*self.group, &*self.version)
    }
}

impl GroupVersionResource {
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion::new(&*self.group, &*self.version)
    }
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&*self.group, &*self.resource)
    }
}
