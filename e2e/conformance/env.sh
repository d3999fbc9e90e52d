# Settings that the scripts here share; each can be overridden in the environment. Sourced, not run.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
VERSION=v1.36.3                                     # of Kubernetes; go.mod pins the same
WORK=${CONFORMANCE_WORK:-$ROOT/target/conformance}  # caches, state of a run, report
BIN=${CONFORMANCE_BIN:-$WORK/bin}                   # upstream's programs, by build.sh
IMG=${CONFORMANCE_IMG:-$WORK/img}                   # all.tar, refs.txt, by images.sh
RUNTIME=${CONFORMANCE_CONTAINERD:-$WORK/containerd/usr/bin} # containerd 2.x, by packages.sh
SKIFF=${SKIFF_BINARY:-${CARGO_TARGET_DIR:-$ROOT/target}/release/skiff}
P=${CONFORMANCE_PREFIX:-skc}                        # prefix of namespaces and cgroups: labs with different ones live side by side
NET=${CONFORMANCE_NET:-172.29.36}                   # first three numbers of the lab's network
STATE=$WORK/lab                                     # of the running lab
NODES=${NODES:-2}
# As a lab whose API server is elsewhere: e2e.test and the registry live in the bridge's namespace.
node_ip() { echo "$NET.$((10 + $1))"; }
cp_ns() { nsenter --net="/run/netns/$P-cp" -- "$@"; }
holder() { cat "$STATE/n$1/holder.pid"; }
on_node() { local n=$1; shift; nsenter -t "$(holder "$n")" -m -n -- env "PATH=$RUNTIME:$PATH" "$@"; }
