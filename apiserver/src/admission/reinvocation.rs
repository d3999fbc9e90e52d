//! The second round of mutating admission: when a webhook or policy has changed an object, the built-in plugins see it again, and
//! those webhooks and policies that ask for it (`reinvocationPolicy: IfNeeded`).
//! Upstream: apiserver/pkg/admission/plugin/webhook/mutating/reinvocationcontext.go.

use machinery::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
struct Plugin {
    /// The object as the plugin left it.
    last: Option<Value>,
    /// Called, and willing to be called again.
    previously: BTreeSet<String>,
    /// To be called in the second round.
    again: BTreeSet<String>,
}

impl Plugin {
    fn require(&mut self) {
        self.again.append(&mut self.previously);
    }
}

/// What one request's mutating plugins remember from the first round.
#[derive(Debug, Default)]
pub struct Reinvocation {
    second: bool,
    wanted: bool,
    plugins: BTreeMap<&'static str, Plugin>,
}

impl Reinvocation {
    /// After the first round: whether there is to be a second.
    pub fn start_second(&mut self) -> bool {
        self.second = self.wanted;
        self.second
    }

    /// A plugin starts. In the second round, what others changed since makes it ask all again that want it.
    pub fn begin(&mut self, plugin: &'static str, obj: &Value) {
        let second = self.second;
        let p = self.plugins.entry(plugin).or_default();
        if second && p.last.as_ref() != Some(obj) {
            p.require();
        }
    }

    /// Whether one of the plugin's webhooks (or policies) takes part in this round.
    pub fn wants(&self, plugin: &'static str, id: &str) -> bool {
        !self.second || self.plugins.get(plugin).is_some_and(|p| p.again.contains(id))
    }

    /// The object was changed on behalf of a webhook.
    pub fn changed(&mut self, plugin: &'static str) {
        self.plugins.entry(plugin).or_default().require();
        self.wanted = true;
    }

    /// A webhook that takes being called again was called.
    pub fn invoked(&mut self, plugin: &'static str, id: &str) {
        self.plugins.entry(plugin).or_default().previously.insert(id.to_owned());
    }

    /// A plugin is done.
    pub fn end(&mut self, plugin: &'static str, obj: &Value) {
        self.plugins.entry(plugin).or_default().last = Some(obj.clone());
    }
}
