//! Where objects are kept: etcd instead of the embedded store, and what a bad disk or a newer file does. Labs of their own.

use crate::Test;
use e2e::Lab;
use e2e::command::{Background, eventually, run};
use e2e::lab::NODE_IP;
use e2e::namespace::PATIENCE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;

pub const TESTS: &[Test] = e2e::tests![etcd_keeps_the_objects, what_cannot_work_is_named_and_loses_nothing];

fn up(lab: &Lab, options: &[&str]) -> e2e::Output {
    let cgroup = format!("/{}", lab.name);
    lab.skiff(&[&["up", "--node-name", "n1", "--cgroup-root", &cgroup], options].concat())
}

fn etcd_keeps_the_objects(_: &Lab) {
    let lab = Lab::new("etcd");
    let url = format!("http://{NODE_IP}:2379");
    let peer = format!("http://{NODE_IP}:2380");
    let mut etcd = lab.command("etcd");
    etcd.args(["--data-dir", &lab.dir.join("etcd").display().to_string(), "--listen-client-urls", &url]);
    etcd.args(["--advertise-client-urls", &url, "--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    etcd.args(["--initial-cluster", &format!("default={peer}")]);
    let etcd = Background::start(etcd, lab.dir.join("etcd.log"));
    eventually("etcd answers", PATIENCE, || {
        let o = lab.sh(&format!("curl -sSf -m 2 {url}/health"));
        if o.code == 0 { Ok(()) } else { Err(o.err) }
    });
    up(&lab, &["--etcd-servers", &url]).ok();
    lab.kubectl(&["create", "deployment", "web", "--image=skiff.dev/hello:1.0", "--replicas=2"]).ok();
    lab.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
    let all = || lab.kubectl(&["get", "deployments,pods", "-o", "jsonpath={.items[*].metadata.uid}"]).ok();
    let before = all();
    let pid = Pid::from_raw(lab.pid("server"));
    kill(pid, Signal::SIGKILL).expect("the server runs");
    eventually("the server's end", PATIENCE, || if kill(pid, None).is_err() { Ok(()) } else { Err("it runs".into()) });
    // What `up` was told once it knows the next time.
    up(&lab, &[]).ok();
    assert_eq!(all(), before);
    assert!(!lab.data().join("store").exists(), "there is no embedded store");
    lab.skiff(&["down"]).ok();
    drop(etcd);
    let error = up(&lab, &[]).fails();
    assert!(error.contains(&url), "an etcd that does not answer is named: {error}");
}

/// Writes a store's format record, as a version with that format would.
fn set_format(store: &Path, format: u64) {
    let db = redb::Database::open(store).expect("the store opens");
    let write = db.begin_write().expect("a transaction");
    let table = redb::TableDefinition::<&str, u64>::new("meta");
    write.open_table(table).expect("the table").insert("format", format).expect("the record");
    write.commit().expect("written");
}

fn what_cannot_work_is_named_and_loses_nothing(_: &Lab) {
    let lab = Lab::new("bad");
    let skiff = Lab::binary();
    let hidden = "mount --bind /dev/null $(readlink -f $(command -v containerd)) && exec";
    let mut command = lab.command("unshare");
    command.args(["-m", "sh", "-c", &format!("{hidden} {} up --node-name n1", skiff.display())]);
    let error = run(&mut command, "").fails();
    assert!(error.contains("containerd is not installed") && error.contains("apt-get install containerd"), "{error}");

    // The store lies on a disk of its own, which gets full.
    let small = lab.dir.join("small");
    let (data, store) = (lab.data(), small.join("store"));
    lab.sh(&format!("mkdir -p {data} {s} && mount -t tmpfs -o size=32m none {s}", data = data.display(), s = small.display()))
        .ok();
    lab.sh(&format!("ln -s {} {}/store", store.display(), data.display())).ok();
    up(&lab, &[]).ok();
    lab.kubectl(&["create", "configmap", "kept", "--from-literal=key=value"]).ok();
    let uid = || lab.kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.metadata.uid}"]).ok();
    let kept = uid();
    lab.sh(&format!("dd if=/dev/zero of={}/fill bs=64k 2>/dev/null; true", small.display())).ok();
    let payload = lab.dir.join("payload");
    std::fs::write(&payload, "x".repeat(900_000)).expect("the lab's directory is writable");
    let big = |n: u32| {
        let file = format!("--from-file={}", payload.display());
        lab.kubectl(&["create", "configmap", &format!("big-{n}"), &file])
    };
    let mut written = 0;
    let error = eventually("a write fails", PATIENCE, || {
        let o = big(written);
        if o.code != 0 {
            return Ok(o.err);
        }
        written += 1;
        Err("the disk is not full yet".into())
    });
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!(uid(), kept, "reads are answered");
    lab.sh(&format!("rm {}/fill", small.display())).ok();
    eventually("writes go on", PATIENCE, || {
        let o = lab.kubectl(&["create", "configmap", "later"]);
        if o.code == 0 || o.err.contains("AlreadyExists") { Ok(()) } else { Err(o.err) }
    });
    let names = lab.kubectl(&["get", "configmaps", "-o", "name"]).ok();
    assert_eq!(names.matches("configmap/big-").count(), written as usize, "what was acknowledged, and nothing else: {names}");

    lab.skiff(&["down"]).ok();
    // The test does not see the lab's mount: the file goes back and forth.
    let copy = lab.dir.join("copy");
    let format = |n| {
        lab.sh(&format!("cp {} {}", store.display(), copy.display())).ok();
        set_format(&copy, n);
        lab.sh(&format!("cp {} {}", copy.display(), store.display())).ok();
    };
    format(99);
    let error = up(&lab, &[]).fails();
    assert!(error.contains("written by a newer version of Skiff"), "{error}");
    format(1);
    up(&lab, &[]).ok();
    assert_eq!(uid(), kept);
    lab.skiff(&["down", "--purge"]).ok();
    lab.sh(&format!("umount {}", small.display())).ok();
}
