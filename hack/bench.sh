#!/bin/bash
# Measures the numbers of SPECIFICATION.md with the release binary, in network namespaces without a way out.
# usage: bench.sh [compare] [--size quick|default|long] [--parts api,scheduler,proxy,node]   Skiff and stock Kubernetes in turn
#        bench.sh alone [options, see `bench alone --help`]                                   Skiff beside the bare runtime
# SKIFF_BINARY and BENCH_BINARY name other binaries than target/release/{skiff,bench}; STOCK_BIN a directory with kube-apiserver and
# its siblings (else they are built from Go modules: 8 minutes the first time); ETCD another etcd; CNI_BIN another directory of plugins.
# RECORD=1 puts the tables into SPECIFICATION.md, samples and picture into docs/bench. KEEP=1 leaves logs and state. OUT names another
# directory than target/bench for results.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
skiff=$(realpath "${SKIFF_BINARY:-$target/release/skiff}")
bench=$(realpath "${BENCH_BINARY:-$target/release/bench}")
[ "$(id -u)" = 0 ] || { echo "bench.sh: needs root: run it with sudo" >&2; exit 1; }
what=compare
case ${1:-} in compare | alone) what=$1; shift ;; esac

options=()
with_stock=1
[[ " $* " != *" --systems skiff "* ]] || with_stock=
if [ $what = compare ] && [ -n "$with_stock" ]; then
  stock=${STOCK_BIN:-}
  if [ -z "$stock" ]; then
    e2e/conformance/build.sh stock
    stock=${CONFORMANCE_BIN:-target/conformance/bin}
  fi
  stock=$(realpath "$stock")
  etcd=${ETCD:-$(PATH=$PATH:/usr/sbin command -v etcd)} || { echo "bench.sh: no etcd: hack/deps.sh bench --install" >&2; exit 1; }
  plugins=$(realpath "${CNI_BIN:-/usr/lib/cni}")
  options=(--stock "$stock" --etcd "$etcd" --cni "$plugins")
fi

name=skb$$
dir=$(mktemp -d "/tmp/$name.XXXX")
holders=()
limits=()
made=()
# Everything that runs in a holder's mount namespace is of this run. Returns when all of it is gone: cgroups with processes stay.
end_all() {
  local holder=$1 own pid left
  own=$(readlink "/proc/$holder/ns/mnt") || return 0
  for _ in {1..100}; do
    left=
    for pid in /proc/[0-9]*; do
      pid=${pid#/proc/}
      if [ "$pid" != "$holder" ] && [ "$(readlink "/proc/$pid/ns/mnt" 2>/dev/null)" = "$own" ]; then
        kill -9 "$pid" 2>/dev/null || true
        left=1
      fi
    done
    [ -n "$left" ] || return 0
    sleep 0.1
  done
}
finish() {
  trap '' INT TERM
  if [ ${#holders[@]} -gt 0 ]; then inside "$skiff" down --purge --data-dir "$dir/d" >/dev/null 2>&1 || true; fi
  for holder in "${holders[@]}"; do end_all "$holder"; kill "$holder" 2>/dev/null || true; wait "$holder" 2>/dev/null || true; done
  for ns in $(ip netns list 2>/dev/null | awk -v n="$name" '$1 == n || index($1, n "-") == 1 {print $1}'); do ip netns del "$ns" || true; done
  if [ -n "${KEEP:-}" ]; then echo "kept: $dir"; else rm -rf "$dir"; fi
  # What runs in containers has mount namespaces of its own, but is in these cgroups; one is empty some time after its last process.
  for _ in {1..50}; do
    left=
    for group in /sys/fs/cgroup/"$name"{,-s} /sys/fs/cgroup/*/"$name"{,-s}; do
      [ -d "$group" ] || continue
      find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null | xargs -r kill -9 2>/dev/null || true
      find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
      [ ! -d "$group" ] || left=1
    done
    [ -n "$left" ] || break
    sleep 0.1
  done
  for d in "${made[@]}"; do rmdir "$d" 2>/dev/null || true; done
  for limit in "${limits[@]}"; do echo "${limit##* }" >"${limit%% *}"; done
}
inside() { nsenter -t "${holders[0]}" -m -n -- env HOME="$dir" KUBECONFIG="$dir/kubeconfig" "$@"; }
# Beside this shell, which would else hear of a signal only when the measurement is over.
run() {
  inside "$@" &
  wait $!
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# hold NAMESPACE COMMANDS: a process with a mount namespace of its own; entered with nsenter, as `ip netns exec` would hide the cgroups.
# Its /run/netns is its own too: what runtimes, plugins and the bench leave there goes with it.
hold() {
  rm -f "$dir/ready"
  # Out of this terminal's group: an interrupt must not end it before `finish` has found what runs in it.
  setsid nsenter --net="/run/netns/$1" unshare -m --propagation private \
    sh -ec "$2 mount -t tmpfs tmpfs /run/netns; mount --make-rshared /; touch $dir/ready; exec sleep infinity" &
  holders+=($!)
  until [ -e "$dir/ready" ]; do kill -0 $! 2>/dev/null || exit 1; sleep 0.05; done
}

# The nodes: two ends of a link that leads nowhere else.
ip netns add $name
ip netns add $name-s
ip -n $name link add eth0 type veth peer name eth0 netns $name-s
ip -n $name addr add 172.31.78.10/24 dev eth0
ip -n $name-s addr add 172.31.78.20/24 dev eth0
for ns in $name $name-s; do
  ip -n $ns link set lo up
  ip -n $ns link set eth0 up
done
hold $name ""
options+=(--skiff "$skiff" --manifest "$PWD/manifests/examples/hello.yaml" --out "${OUT:-$PWD/target/bench}")
if [ $what = alone ]; then
  run "$bench" alone "${options[@]}" --data-dir "$dir/d" --cgroup-root "/$name" "$@"
  exit
fi

# The stock node has the directories that its programs know by fixed paths for itself, a route for Service addresses, as every node
# with a default route has, and a cgroup.
mkdir -p "$dir"/{kubelet,run,cni,pods,containers}
for d in /var/lib/kubelet /run/containerd /var/lib/cni /var/log/pods /var/log/containers; do
  [ -d $d ] || { mkdir -p $d; made+=($d); }
done
ip -n $name-s route add 10.96.0.0/16 dev eth0
nsenter --net=/run/netns/$name-s sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1
for root in /sys/fs/cgroup/*/; do
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then mkdir -p /sys/fs/cgroup/$name-s; break; fi
  [ "$root" = /sys/fs/cgroup/unified/ ] || mkdir -p "$root$name-s"
  # A new cpuset of the first version is empty and takes no process.
  for f in cpus mems; do
    [ ! -e "$root/cpuset.$f" ] || cat "$root/cpuset.$f" >"$root$name-s/cpuset.$f"
  done
done
for f in max_user_instances:8192 max_user_watches:1048576; do
  path=/proc/sys/fs/inotify/${f%%:*}
  old=$(cat "$path")
  if [ "$old" -lt "${f##*:}" ]; then limits+=("$path $old"); echo "${f##*:}" >"$path"; fi
done
hold $name-s "mount --bind $dir/kubelet /var/lib/kubelet; mount --bind $dir/run /run/containerd; mount --bind $dir/cni /var/lib/cni;
  mount --bind $dir/pods /var/log/pods; mount --bind $dir/containers /var/log/containers;"
run "$bench" compare "${options[@]}" --dir "$dir" --prefix $name --stock-holder "${holders[1]}" "$@"
if [ -n "${RECORD:-}" ]; then
  mkdir -p docs/bench
  results=${OUT:-target/bench}
  cp "$results/compare.json" "$results/compare.svg" docs/bench/
  awk -v tables="$results/compare.md" '/<!-- tables of make bench -->/ {print; while ((getline line < tables) > 0) print line; print ""; skip = 1}
       /<!-- end of tables -->/ {skip = 0} !skip || /<!-- end of tables -->/ {if (!/<!-- tables of make bench -->/) print}' \
    SPECIFICATION.md >"$dir/spec.md"
  cat "$dir/spec.md" >SPECIFICATION.md
fi
