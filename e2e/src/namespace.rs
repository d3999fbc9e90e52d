//! A Kubernetes namespace for one test, and the questions tests ask in it.

use crate::command::{Background, Output, eventually, run};
use crate::lab::Lab;
use std::time::Duration;

/// How long anything that should happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A namespace. Dropping it deletes it; a failing test shows what was in it first.
pub struct Namespace<'a> {
    pub lab: &'a Lab,
    pub name: String,
}

impl<'a> Namespace<'a> {
    pub fn new(lab: &'a Lab, name: &str) -> Self {
        lab.kubectl(&["create", "namespace", name]).ok();
        let ns = Self { lab, name: name.into() };
        // Pods need the namespace's service account.
        ns.eventually("service account", || {
            let o = ns.kubectl(&["get", "serviceaccount", "default", "-o", "name"]);
            if o.code == 0 { Ok(()) } else { Err(o.err) }
        });
        ns
    }
    pub fn kubectl(&self, args: &[&str]) -> Output {
        self.kubectl_in(args, "")
    }
    pub fn kubectl_in(&self, args: &[&str], input: &str) -> Output {
        self.lab.kubectl_in(&[&["-n", &self.name], args].concat(), input)
    }
    /// kubectl running beside the test.
    pub fn background(&self, name: &str, args: &[&str]) -> Background {
        let mut c = self.lab.command(self.lab.kubectl_path());
        c.args(["-n", &self.name]).args(args);
        Background::start(c, self.lab.dir.join(format!("{}-{name}.log", self.name)))
    }
    /// kubectl with an environment variable.
    pub fn kubectl_env(&self, env: (&str, &str), args: &[&str]) -> Output {
        run(self.lab.command(self.lab.kubectl_path()).env(env.0, env.1).args(["-n", &self.name]).args(args), "")
    }
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        self.kubectl_in(&["apply", "-f", "-"], manifest).ok()
    }
    #[track_caller]
    pub fn apply_seed(&self, file: &str) -> String {
        self.kubectl(&["apply", "-f", &Lab::testdata(file)]).ok()
    }
    /// One field by a JSONPath.
    #[track_caller]
    pub fn get(&self, what: &str, path: &str) -> String {
        let mut args = vec!["get"];
        args.extend(what.split(' '));
        let path = format!("jsonpath={path}");
        args.extend(["-o", &path]);
        self.kubectl(&args).ok()
    }
    #[track_caller]
    pub fn wait(&self, condition: &str, what: &str) {
        self.kubectl(&["wait", &format!("--for={condition}"), what, "--timeout=90s"]).ok();
    }
    #[track_caller]
    pub fn rolled_out(&self, what: &str) -> String {
        self.kubectl(&["rollout", "status", what, "--timeout=90s"]).ok()
    }
    #[track_caller]
    pub fn eventually<T>(&self, what: &str, condition: impl FnMut() -> Result<T, String>) -> T {
        eventually(what, PATIENCE, condition)
    }
    /// Waits until a field has a value.
    #[track_caller]
    pub fn becomes(&self, what: &str, path: &str, value: &str) {
        self.eventually(&format!("{what} {path} = {value}"), || {
            let mut args = vec!["get"];
            args.extend(what.split(' '));
            let path = format!("jsonpath={path}");
            args.extend(["-o", &path]);
            let o = self.kubectl(&args);
            if o.out == value { Ok(()) } else { Err(format!("{:?} {}", o.out, o.err)) }
        });
    }
    /// Waits until an event about an object says something; answers all its events.
    #[track_caller]
    pub fn event(&self, object: &str, text: &str) -> String {
        self.eventually(&format!("event {text:?} of {object}"), || {
            let args =
                ["get", "events", "-o", "custom-columns=O:.involvedObject.name,T:.type,R:.reason,M:.message", "--no-headers"];
            let o = self.kubectl(&args);
            let of: Vec<_> = o.out.lines().filter(|l| l.split(' ').next() == Some(object)).collect();
            let of = of.join("\n");
            if of.contains(text) { Ok(of) } else { Err(of) }
        })
    }
    /// A pod that does nothing, to run commands in.
    #[track_caller]
    pub fn client(&self) {
        self.apply(
            "{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {terminationGracePeriodSeconds: 0, containers: \
             [{name: c, image: 'busybox:1.36', command: [sleep, infinity]}]}}",
        );
        self.wait("condition=Ready", "pod/client");
    }
    /// A command in a pod's first container.
    pub fn exec(&self, pod: &str, args: &[&str]) -> Output {
        self.kubectl(&[&["exec", pod, "--"], args].concat())
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let all = self.kubectl(&["get", "all,endpointslices,pvc,events", "-o", "wide"]);
            eprintln!("--- namespace {}:\n{}{}---", self.name, all.out, all.err);
            if std::env::var_os("SKIFF_E2E_KEEP").is_some() {
                return;
            }
        }
        let _ = self.lab.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
