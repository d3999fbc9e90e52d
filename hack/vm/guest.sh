# What the scripts of both boots share: steps that say how long they took, and a failure that shows why.
# Everything a shell of the guest needs: kubectl talks to the cluster that `skiff up` merged into root's kubeconfig.
set -uo pipefail
export KUBECONFIG=/root/.kube/config

step() { # NAME COMMAND...: runs the command, shows its output if it fails
  local name=$1 from=$SECONDS
  shift
  if "$@" >/tmp/step 2>&1; then
    echo "ok    $name ($((SECONDS - from)) s)"
  else
    echo "FAIL  $name"
    cat /tmp/step
    explain
    exit 1
  fi
}

explain() {
  echo "--- cluster"
  kubectl get nodes,pods -A -o wide 2>&1 | tail -n 40
  kubectl get events -A --sort-by=lastTimestamp 2>&1 | tail -n 20 | cut -c 1-400
  for log in /var/log/skiff/*.log; do
    echo "--- $log"
    grep -v ' INFO ' "$log" | tail -n 20 | cut -c 1-400
  done
  dmesg -l err,warn | tail -n 10
}

same() { # WANT COMMAND...: the command prints exactly this
  local want=$1 got
  shift
  got=$("$@") || return 1
  [ "$got" = "$want" ] || { echo "want: $want"; echo "got:  $got"; return 1; }
}

# What a cluster could leave behind, one line each, sorted.
traces() { all_traces | LC_ALL=C sort; }

all_traces() {
  ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/link \1/'
  ip netns | sed 's/^/netns /'
  nft list tables 2>/dev/null
  sed 's/^\S* \S* \S* \S* \(\S*\).*/mount \1/' /proc/self/mountinfo
  find /sys/fs/cgroup -mindepth 1 -type d -printf 'cgroup %p\n'
  find / -xdev \( -path /job -o -path /var/tmp -o -path /root/.kube \) -prune -o -printf 'file %p\n'
  find /run /tmp -mindepth 1 ! -name step -printf 'file %p\n'
  ps -eo comm= | grep -E '^(skiff|containerd|runc|pause|hello)' | sed 's/^/process /'
}
