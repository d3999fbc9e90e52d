//! One PolicyRule: what it matches and what it covers. Upstream: pkg/apis/rbac/v1/evaluation_helpers.go and
//! component-helpers/auth/rbac/validation/policy_comparator.go.

use crate::authz::Attributes;
use machinery::meta::list_at;
use machinery::{Map, Value};

/// `rbac.authorization.k8s.io/v1` PolicyRule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
    pub non_resource_urls: Vec<String>,
}

fn strings(v: &Value, key: &str) -> Vec<String> {
    list_at(v, &[key]).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn has(list: &[String], want: &str) -> bool {
    list.iter().any(|s| s == want)
}

fn has_or_all(list: &[String], want: &str) -> bool {
    list.iter().any(|s| s == "*" || s == want)
}

impl Rule {
    pub fn from_value(v: &Value) -> Self {
        Self {
            verbs: strings(v, "verbs"),
            api_groups: strings(v, "apiGroups"),
            resources: strings(v, "resources"),
            resource_names: strings(v, "resourceNames"),
            non_resource_urls: strings(v, "nonResourceURLs"),
        }
    }

    pub fn to_value(&self) -> Value {
        let mut m = Map::new();
        m.insert("verbs".into(), self.verbs.clone().into());
        for (k, v) in [
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.non_resource_urls),
        ] {
            if !v.is_empty() {
                m.insert(k.into(), v.clone().into());
            }
        }
        m.into()
    }

    /// Every verb on every resource and path.
    pub fn everything() -> Self {
        let star = || vec!["*".to_owned()];
        Self { verbs: star(), api_groups: star(), resources: star(), resource_names: Vec::new(), non_resource_urls: star() }
    }

    /// The rule allows the request.
    pub fn allows(&self, a: &Attributes) -> bool {
        if !has_or_all(&self.verbs, &a.verb) {
            return false;
        }
        if !a.resource_request {
            return self.non_resource_urls.iter().any(|u| url_matches(u, &a.path));
        }
        has_or_all(&self.api_groups, &a.group)
            && self.resource_matches(&a.resource, &a.subresource)
            && (self.resource_names.is_empty() || has(&self.resource_names, &a.name))
    }

    fn resource_matches(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|r| {
            if r == "*" {
                return true;
            }
            if subresource.is_empty() {
                return r == resource;
            }
            match r.split_once('/') {
                Some((main, sub)) => sub == subresource && (main == "*" || main == resource),
                None => false,
            }
        })
    }

    /// Every single permission of `self` (a rule with one of each: see `break_down`) is in `owner`.
    fn covered_by(&self, owner: &Rule) -> bool {
        let all = |mine: &[String], theirs: &[String]| has(theirs, "*") || mine.iter().all(|m| has(theirs, m));
        let resources = has(&owner.resources, "*")
            || self.resources.iter().all(|r| {
                has(&owner.resources, r)
                    || r.split_once('/').is_some_and(|(_, sub)| owner.resources.iter().any(|o| o.strip_prefix("*/") == Some(sub)))
            });
        let names = owner.resource_names.is_empty()
            || (!self.resource_names.is_empty() && self.resource_names.iter().all(|n| has(&owner.resource_names, n)));
        all(&self.verbs, &owner.verbs)
            && all(&self.api_groups, &owner.api_groups)
            && resources
            && names
            && self.non_resource_urls.iter().all(|u| owner.non_resource_urls.iter().any(|o| url_matches(o, u)))
    }

    /// The rule as rules with one verb, one group, one resource and one name (or one URL) each.
    fn break_down(&self) -> Vec<Rule> {
        let mut out = Vec::new();
        let one = |s: &String| vec![s.clone()];
        for verb in &self.verbs {
            for url in &self.non_resource_urls {
                out.push(Rule { verbs: one(verb), non_resource_urls: one(url), ..Rule::default() });
            }
        }
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let base = Rule { verbs: one(verb), api_groups: one(group), resources: one(resource), ..Rule::default() };
                    if self.resource_names.is_empty() {
                        out.push(base);
                        continue;
                    }
                    out.extend(self.resource_names.iter().map(|n| Rule { resource_names: one(n), ..base.clone() }));
                }
            }
        }
        out
    }

    /// As upstream's compact string: `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`.
    pub fn compact(&self) -> String {
        let mut parts = Vec::new();
        for (k, v) in [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ] {
            if !v.is_empty() {
                let quoted: Vec<String> = v.iter().map(|s| format!("{s:?}")).collect();
                parts.push(format!("{k}:[{}]", quoted.join(" ")));
            }
        }
        format!("{{{}}}", parts.join(", "))
    }
}

fn url_matches(rule: &str, url: &str) -> bool {
    rule == "*" || rule == url || rule.strip_suffix('*').is_some_and(|prefix| url.starts_with(prefix.trim_end_matches('*')))
}

/// The permissions in `wanted` that `owned` does not cover.
pub fn uncovered(owned: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(Rule::break_down).filter(|w| !owned.iter().any(|o| w.covered_by(o))).collect()
}
