#!/bin/bash
# Says where Skiff spends time and memory: `profile.sh WHAT`, WHAT being
#   PID         a process that runs: ten seconds of its stacks, and its memory by kind of mapping
#   api|scheduler|proxy|node   that part of the comparison, with Skiff's processes sampled all the while
# Needs perf (Debian: linux-perf) and a binary with symbols: `make profile` builds one. Only processes seen every two seconds count. Output goes to target/profile.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:?usage: profile.sh PID|api|scheduler|proxy|node}
shift
command -v perf >/dev/null || { echo "profile.sh: perf is missing (Debian: linux-perf)" >&2; exit 1; }
out=target/profile
mkdir -p $out

# Which code of these processes: stacks DATA PIDS OUTPUT.
stacks() {
  local report=(perf report -i "$1" --pid "$2" --percentage relative --stdio -g none --percent-limit 0.4)
  {
    echo "# time by program, library and kernel"
    "${report[@]}" --no-children --sort dso 2>/dev/null | grep -v '^#\|^$' | head -12
    echo "# time by function, callees left out"
    "${report[@]}" --no-children --sort dso,symbol 2>/dev/null | grep -v '^#\|^$' | head -80
    if perf script -i "$1" --pid "$2" -F ip,sym 2>/dev/null | head -40 | grep -q '^$'; then
      echo "# time by function, callees included"
      "${report[@]}" --children --sort dso,symbol --percent-limit 2 2>/dev/null | grep -v '^#\|^$' | head -80
    fi
  } >"$3"
}
# Which memory: mappings of a process by kind, in KiB.
memory() {
  awk '
    /^[0-9a-f]+-[0-9a-f]+ / { kind = $6 == "" ? "heap and stacks (anonymous)" : $6 ~ /^\[/ ? $6 : $6 " " $2 }
    /^Rss:/ { rss[kind] += $2 } /^Pss:/ { pss[kind] += $2 } /^Private_Dirty:/ { dirty[kind] += $2 }
    END { for (k in rss) if (rss[k]) printf "%10d %10d %10d  %s\n", rss[k], pss[k], dirty[k], k }' "/proc/$1/smaps" | sort -rn |
    { echo "    RSS KiB    PSS KiB  dirty KiB  mapping"; cat; }
}

case $what in
  [0-9]*)
    perf record -q -F 499 -g --call-graph dwarf,16384 -p "$what" -o $out/perf.data -- sleep "${SECONDS_SAMPLED:-10}"
    stacks $out/perf.data "$what" $out/cpu.txt
    memory "$what" >$out/memory.txt
    ;;
  *)
    # The whole machine is sampled, the report keeps to Skiff: its processes come and go during a comparison.
    perf record -q -F 199 -a -o $out/perf.data -- hack/bench.sh compare --parts "$what" "$@" &
    recorder=$!
    trap 'kill -INT $recorder 2>/dev/null || true' INT TERM
    skiff=$(realpath "${SKIFF_BINARY:-${CARGO_TARGET_DIR:-target}/release/skiff}")
    seen=()
    # The state of each of its processes at the last look before it ended.
    while kill -0 $recorder 2>/dev/null; do
      for p in /proc/[0-9]*; do
        if [ "$(readlink "$p/exe" 2>/dev/null)" = "$skiff" ]; then
          seen[${p#/proc/}]=${p#/proc/}
          { tr '\0' ' ' <"$p/cmdline" | cut -c1-100; echo; memory "${p#/proc/}"; } >"$out/memory.${p#/proc/}.txt" 2>/dev/null || true
        fi
      done
      sleep 2
    done
    wait $recorder || true
    for p in "${seen[@]}"; do cat "$out/memory.$p.txt"; done >$out/memory.txt 2>/dev/null || true
    rm -f $out/memory.[0-9]*.txt
    list=${seen[*]}
    stacks $out/perf.data "${list// /,}" $out/cpu.txt
    ;;
esac
head -40 $out/cpu.txt
echo "more: $out/cpu.txt, $out/memory.txt; everything: perf report -i $out/perf.data"
