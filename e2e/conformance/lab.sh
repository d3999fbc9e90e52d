#!/bin/bash
# The lab: a bridge in a namespace of its own and, on it, one namespace per node. No route leads out of it. Node 1 runs
# `skiff up`, the others `skiff join`; e2e.test runs in the bridge's namespace.
# usage: lab.sh up | down | enter NODE|cp COMMAND...
set -euo pipefail
. "$(dirname "$0")/env.sh"

# The kernel's default of 128 inotify instances per user is too low for two nodes.
limits() {
  for f in max_user_instances:8192 max_user_watches:1048576; do
    local path=/proc/sys/fs/inotify/${f%%:*}
    [ "$(cat "$path")" -ge "${f##*:}" ] && continue
    echo "$path $(cat "$path")" >>"$STATE/limits"
    echo "${f##*:}" >"$path"
  done
}

network() {
  ip netns add "$P-cp"
  cp_ns ip link set lo up
  cp_ns ip link add br0 type bridge
  cp_ns ip addr add "$NET.1/24" dev br0
  cp_ns ip link set br0 up
  for n in $(seq "$NODES"); do
    ip netns add "$P-n$n"
    cp_ns ip link add "v$n" type veth peer name eth0 netns "$P-n$n"
    cp_ns ip link set "v$n" master br0 up
    ip -n "$P-n$n" link set lo up
    ip -n "$P-n$n" addr add "$(node_ip "$n")/24" dev eth0
    ip -n "$P-n$n" link set eth0 up
  done
}

# A process that holds a node's mount namespace. It is entered with nsenter: `ip netns exec` would hide the cgroups.
node() {
  local dir=$STATE/n$1
  mkdir -p "$dir"/{data,kubelet,run,cni,log-pods,log-containers,netns}
  mkdir -p /var/lib/kubelet /run/containerd /var/lib/cni /var/log/pods /var/log/containers
  setsid nsenter --net="/run/netns/$P-n$1" unshare -m --propagation private bash -c "
    set -e
    mount --bind $dir/kubelet /var/lib/kubelet; mount --bind $dir/run /run/containerd; mount --bind $dir/cni /var/lib/cni
    mount --bind $dir/log-pods /var/log/pods; mount --bind $dir/log-containers /var/log/containers
    mount --bind $dir/netns /run/netns
    mount --make-rshared /
    touch $dir/ready; exec sleep infinity" >"$dir/holder.log" 2>&1 </dev/null &
  echo $! >"$dir/holder.pid"
  for _ in $(seq 100); do [ -e "$dir/ready" ] && return; sleep .1; done
  echo "node $1 has no mount namespace:" >&2; cat "$dir/holder.log" >&2; exit 1
}

# A registry with the one image that a test pulls; it stands in for registry.k8s.io (mirror, below).
registry() {
  setsid nsenter --net="/run/netns/$P-cp" python3 "$HERE/registry.py" "$IMG/all.tar" "$NET.1:5000" kitten >"$STATE/registry.log" 2>&1 </dev/null &
  echo $! >"$STATE/registry.pid"
}

# containerd's note of the registry, in the instance's own configuration.
mirror() {
  local dir=$STATE/n$1/data/certs.d/registry.k8s.io
  mkdir -p "$dir"
  printf '[host."http://%s.1:5000"]\n  capabilities = ["pull", "resolve"]\n' "$NET" >"$dir/hosts.toml"
}

up() {
  [ -x "$SKIFF" ] || { echo "$SKIFF is not built: cargo build --release --bin skiff" >&2; exit 1; }
  [ ! -e "$STATE" ] || down
  mkdir -p "$STATE"
  limits
  network
  registry
  for n in $(seq "$NODES"); do
    node "$n"
    mirror "$n"
    local common=(--data-dir "$STATE/n$n/data" --node-name "n$n" --node-ip "$(node_ip "$n")" --cgroup-root "/$P/n$n")
    if [ "$n" = 1 ]; then
      on_node 1 env "KUBECONFIG=$STATE/n1/kubeconfig" "$SKIFF" up "${common[@]}"
    else
      local join
      join=$(on_node 1 "$SKIFF" token create --data-dir "$STATE/n1/data")
      on_node "$n" "$SKIFF" join "$join" "${common[@]}"
    fi
    on_node "$n" "$SKIFF" image load --data-dir "$STATE/n$n/data" "$IMG/all.tar" >/dev/null
  done
  cp "$STATE/n1/data/admin.kubeconfig" "$STATE/kubeconfig"
  cp_ns "$BIN/kubectl" --kubeconfig "$STATE/kubeconfig" wait --for=condition=Ready node --all --timeout=120s
}

# Ends a process that a pid file names, by force after five seconds.
stop() {
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || return 0; sleep .1; done
  kill -9 "$pid" 2>/dev/null || true
}

# Everything that still lives in a node's mount namespace: shims, and containers whose runtime went away.
reap() {
  local pid ns
  pid=$(holder "$1" 2>/dev/null) || return 0
  ns=$(readlink "/proc/$pid/ns/mnt" 2>/dev/null) || return 0
  [ "$ns" != "$(readlink /proc/self/ns/mnt)" ] || return 0
  find /sys/fs/cgroup/*/"$P/n$1" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | xargs -r kill -9 2>/dev/null || true
  for p in /proc/[0-9]*; do
    [ "${p#/proc/}" != "$pid" ] && [ "$(readlink "$p/ns/mnt" 2>/dev/null)" = "$ns" ] && kill -9 "${p#/proc/}" 2>/dev/null
  done
  kill -9 "$pid" 2>/dev/null || true
}

down() {
  set +e
  for dir in $(ls -rd "$STATE"/n* 2>/dev/null); do
    local n=${dir##*/n}
    if kill -0 "$(holder "$n" 2>/dev/null)" 2>/dev/null; then
      on_node "$n" timeout 120 "$SKIFF" down --purge --data-dir "$dir/data" >"$STATE/down-n$n.log" 2>&1
      reap "$n"
    fi
  done
  stop "$STATE/registry.pid"
  sleep .5
  for ns in $(ip netns list 2>/dev/null | awk -v p="$P" '$1 == p"-cp" || $1 ~ "^"p"-n[0-9]+$" {print $1}'); do ip netns del "$ns"; done
  for _ in 1 2 3 4 5; do
    find /sys/fs/cgroup -depth -type d -path "/sys/fs/cgroup/*$P*" \( -path "/sys/fs/cgroup/$P*" -o -path "/sys/fs/cgroup/*/$P*" \) -exec rmdir {} + 2>/dev/null
    ls -d "/sys/fs/cgroup/$P" /sys/fs/cgroup/*/"$P" >/dev/null 2>&1 || break
    sleep .5
  done
  [ ! -e "$STATE/limits" ] || while read -r path value; do echo "$value" >"$path"; done <"$STATE/limits"
  rm -rf "$STATE"
  set -e
}

case ${1:-} in
  up) up ;;
  down) down ;;
  enter)
    where=$2
    shift 2
    if [ "$where" = cp ]; then cp_ns "$@"; else on_node "${where#n}" "$@"; fi ;;
  *) echo "usage: lab.sh up | down | enter NODE|cp COMMAND..." >&2; exit 2 ;;
esac
