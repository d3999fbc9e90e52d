#!/bin/bash
# Says where Skiff spends time and memory: `profile.sh WHAT [--size default|long]`, WHAT being
#   api|scheduler|proxy|node   that part of the comparison with Skiff alone, once sampled and once with a profile of the heap
#   PID                        a process that runs: ten seconds of its stacks, and its memory by kind of mapping
# Prints the heaviest functions; target/profile gets longer tables (cpu.txt, heap.txt), folded stacks and flame graphs (cpu.svg, heap.svg).
# Needs perf (Debian: linux-perf) and binaries with symbols; `make profile` builds them. SKIFF_BINARY is the one that is sampled,
# HEAP_BINARY (default target/profile/skiff) one that was built with the feature heap-profile, BENCH_BINARY the bench.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:?usage: profile.sh PID|api|scheduler|proxy|node [--size quick|default|long]}
shift
[[ " $* " == *" --size "* ]] || set -- --size quick "$@"
target=${CARGO_TARGET_DIR:-target}
out=$PWD/target/profile
mkdir -p "$out"
skiff=$(realpath "${SKIFF_BINARY:-$target/release/skiff}")
heap=$(realpath -m "${HEAP_BINARY:-$out/skiff}")
bench=$(realpath "${BENCH_BINARY:-$target/release/bench}")
command -v perf >/dev/null || { echo "profile.sh: perf is missing (Debian: linux-perf)" >&2; exit 1; }
raw=$(mktemp -d "/tmp/skiff-profile.XXXX")
work=
# An interrupt ends the part (which clears up after itself), then this.
finish() {
  trap '' INT TERM
  for pid in $work $recorder; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
  rm -rf "$raw"
}
recorder=
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# sampled PROGRAM: what perf has recorded of it.
sampled() {
  perf script -i "$raw/perf.data" --no-inline -F comm,pid,tid,ip,sym,dso >"$raw/script" 2>/dev/null
  "$bench" profile cpu "$raw/script" --program "$1" --roles "$raw/roles" --out "$out"
}
# Which memory: mappings of a process by kind, in KiB.
memory() {
  awk '
    /^[0-9a-f]+-[0-9a-f]+ / { kind = $6 == "" ? "heap and stacks (anonymous)" : $6 ~ /^\[/ ? $6 : $6 " " $2 }
    /^Rss:/ { rss[kind] += $2 } /^Pss:/ { pss[kind] += $2 } /^Private_Dirty:/ { dirty[kind] += $2 }
    END { for (k in rss) if (rss[k]) printf "%10d %10d %10d  %s\n", rss[k], pss[k], dirty[k], k }' "/proc/$1/smaps" | sort -rn |
    { echo "    RSS KiB    PSS KiB  dirty KiB  mapping"; cat; }
}
# part PROGRAM OPTIONS: runs a part in the background and notes what its processes are, until it ends.
part() {
  local program=$1
  shift
  OUT=$raw/results SKIFF_BINARY=$program BENCH_BINARY=$bench hack/bench.sh compare --parts "$what" --systems skiff "$@" >"$raw/part.log" 2>&1 &
  work=$!
  while kill -0 "$work" 2>/dev/null; do
    for p in /proc/[0-9]*; do
      if [ "$(readlink "$p/exe" 2>/dev/null)" = "$program" ]; then
        echo "${p#/proc/} $(tr '\0' ' ' <"$p/cmdline" 2>/dev/null | cut -c1-200)" >>"$raw/roles.all"
      fi
    done
    sleep 0.5
  done
  local outcome=0
  wait "$work" || outcome=$?
  work=
  sort -u "$raw/roles.all" >"$raw/roles"
  [ $outcome = 0 ] || { tail -5 "$raw/part.log" >&2; exit 1; }
}

case $what in
  [0-9]*)
    program=$(readlink "/proc/$what/exe")
    echo "$what $(tr '\0' ' ' <"/proc/$what/cmdline" | cut -c1-200)" >"$raw/roles"
    memory "$what" >"$out/memory.txt"
    perf record -q -e cpu-clock -F 299 --call-graph dwarf,16384 -p "$what" -o "$raw/perf.data" -- sleep "${SECONDS_SAMPLED:-10}"
    cat "$out/memory.txt"
    sampled "$program"
    ;;
  api | scheduler | proxy | node)
    # The whole machine is sampled, what is not Skiff's is left out later: its processes come and go.
    perf record -q -e cpu-clock -F 149 --call-graph dwarf,8192 -a -o "$raw/perf.data" 2>"$raw/perf.log" &
    recorder=$!
    part "$skiff" "$@"
    kill $recorder
    wait $recorder || true
    recorder=
    sampled "$skiff"
    if [ -x "$heap" ]; then
      # A dump each time that so many bytes were allocated; the last of each process tells what it then had.
      export _RJEM_MALLOC_CONF="prof:true,lg_prof_sample:14,lg_prof_interval:25,prof_prefix:$raw/heap"
      part "$heap" "$@"
      unset _RJEM_MALLOC_CONF
      "$bench" profile heap "$raw"/heap.*.heap --program "$heap" --roles "$raw/roles" --out "$out"
    fi
    ;;
  *) echo "profile.sh: $what is neither a part nor a process" >&2; exit 1 ;;
esac
echo
echo "more: $out: cpu.txt, cpu.svg, cpu.folded; heap.* alike; memory.txt of a process"
