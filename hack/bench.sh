#!/bin/bash
# Measures the numbers of SPECIFICATION.md: the release binary, in a network namespace without a way out.
# usage: bench.sh [options of the bench program, see `bench --help`]
# SKIFF_BINARY and BENCH_BINARY name other binaries than target/release/{skiff,bench}.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
skiff=$(realpath "${SKIFF_BINARY:-$target/release/skiff}")
bench=$(realpath "${BENCH_BINARY:-$target/release/bench}")
[ "$(id -u)" = 0 ] || { echo "bench.sh: needs root: run it with sudo" >&2; exit 1; }

name=skbench$$
dir=$(mktemp -d "/tmp/$name.XXXX")
holder=
finish() {
  if [ -n "$holder" ]; then
    inside "$skiff" down --purge --data-dir "$dir/d" >/dev/null || true
    kill "$holder" 2>/dev/null || true
  fi
  ip netns del $name 2>/dev/null || true
  rm -rf "$dir"
  for h in /sys/fs/cgroup /sys/fs/cgroup/*/; do rmdir "$h/$name" 2>/dev/null || true; done
}
inside() { nsenter -t "$holder" -m -n -- env HOME="$dir" KUBECONFIG="$dir/kubeconfig" "$@"; }
trap finish EXIT

ip netns add $name
ip -n $name link set lo up
# The node's address: one end of a link that leads nowhere.
ip -n $name link add eth0 type veth peer name eth1
ip -n $name addr add 172.31.78.10/24 dev eth0
ip -n $name link set eth0 up
ip -n $name link set eth1 up
# A mount namespace of its own; entered with nsenter, as `ip netns exec` would hide the cgroups.
nsenter --net=/run/netns/$name unshare -m --propagation private \
  sh -c "mount --make-rshared / && touch $dir/ready && exec sleep infinity" &
holder=$!
until [ -e "$dir/ready" ]; do sleep 0.05; done

inside "$bench" --skiff "$skiff" --data-dir "$dir/d" --cgroup-root "/$name" \
  --manifest "$PWD/manifests/examples/hello.yaml" --out "$PWD/target/bench" "$@"
