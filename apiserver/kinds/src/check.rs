//! `machinery`'s formats (names, labels, ports, addresses) as checks of a place in a tree, and the few that only kinds need.

use crate::at::At;
use machinery::field::ErrorList;
use machinery::validation;

pub use machinery::validation::{
    config_map_key, dns1123_label, dns1123_subdomain, http_header_name, label_value, port_name, qualified_name,
    relaxed_env_var_name as env_var_name,
};

pub type Reasons = Vec<String>;

/// What DNS searches take.
pub use machinery::validation::dns1123_subdomain_with_underscore as dns1123_subdomain_underscore;

impl At<'_> {
    /// One error per reason.
    pub fn check(&self, e: &mut ErrorList, rule: fn(&str) -> Reasons) {
        self.messages(e, rule(self.str()));
    }
    /// Required, then the rule.
    pub fn need_check(&self, e: &mut ErrorList, rule: fn(&str) -> Reasons) {
        if self.need(e, "") {
            self.check(e, rule);
        }
    }
    /// The rule where there is something.
    pub fn check_if_set(&self, e: &mut ErrorList, rule: fn(&str) -> Reasons) {
        if !self.is_empty() {
            self.check(e, rule);
        }
    }
    /// An address as fields older than strict parsing take it.
    pub fn legacy_ip(&self, e: &mut ErrorList) {
        e.extend(validation::ip_legacy(&self.path(), self.str(), false, &[]));
    }
    /// A CIDR as fields older than strict parsing take it.
    pub fn legacy_cidr(&self, e: &mut ErrorList) {
        e.extend(validation::cidr_legacy(&self.path(), self.str(), false, &[]));
    }
    pub fn port_num(&self, e: &mut ErrorList) {
        self.in_range(e, 1, 65535);
    }
    /// A port number, or the name of one.
    pub fn port_num_or_name(&self, e: &mut ErrorList) {
        if self.v.is_string() { self.check(e, port_name) } else { self.port_num(e) }
    }
}
