#!/bin/bash
# Runs the conformance suite and writes a report: what `make conformance` calls.
#   FOCUS, SKIP   regular expressions over test names     PROCS   tests at once in the parallel part (12)
#   NODES         nodes of the lab (2)                    KUBECONFIG  another cluster instead of the lab (ENTER: how to reach it)
#   KEEP=1        leave the lab up                        RECORD=1    a full run becomes docs/conformance.tsv (update: a part of it)
#   TESTS=FILE    exactly the tests whose names the file has, one a line
#   LABELS        a ginkgo label filter instead of Conformance: other tests of upstream's, for looking, not for the score
set -uo pipefail
. "$(dirname "$0")/env.sh"
[ "$(id -u)" = 0 ] || [ -n "${KUBECONFIG:-}" ] || { echo "a lab needs root" >&2; exit 1; }
out=${OUT:-$WORK/out}                                 # of this run
rm -rf "$out"
mkdir -p "$out"
"$HERE/build.sh" suite || exit 1

if [ -n "${KUBECONFIG:-}" ]; then
  kubeconfig=$KUBECONFIG
  enter=${ENTER:-}
else
  enter="nsenter --net=/run/netns/$P-cp --"
  kubeconfig=$STATE/kubeconfig
  if [ "${REUSE:-}" != 1 ]; then
    "$HERE/packages.sh" && "$HERE/images.sh" || exit 1
    if [ "${KEEP:-}" != 1 ]; then trap '"$HERE/lab.sh" down' EXIT; fi
    "$HERE/lab.sh" up || { cp -r "$STATE"/n1/data/log "$out/n1-log" 2>/dev/null; echo "the lab did not come up; logs in $out" >&2; exit 1; }
  fi
fi
nodes=$($enter "$BIN/kubectl" --kubeconfig "$kubeconfig" get nodes -o name | wc -l)
[ "$nodes" -gt 0 ] || { echo "no cluster answers" >&2; exit 1; }

select=()
if [ -n "${TESTS:-}" ]; then
  while IFS= read -r line; do
    [ -z "$line" ] || select+=("--focus=$(sed -e 's/[][().*+?^${}|\\/]/\\&/g' <<<"$line")")
  done < <(grep -v '^#' "$TESTS")
  [ ${#select[@]} -gt 0 ] || { echo "$TESTS names no tests: nothing to do"; exit 0; }
elif [ -n "${FOCUS:-}" ]; then
  select+=("--focus=$FOCUS")
fi
[ -z "${SKIP:-}" ] || select+=("--skip=$SKIP")

part() { # part NAME PROCS LABELS
  local dir=$out/$1 start=$SECONDS
  mkdir -p "$dir"
  echo "$1 part ($2 at once): $dir/log"
  $enter env "PATH=$BIN:$PATH" "HOME=$dir" "$BIN/ginkgo" "--procs=$2" "--timeout=${TIMEOUT:-3h}" --no-color --silence-skips \
    --poll-progress-after=0 "--label-filter=$3" "${select[@]}" "$BIN/e2e.test" -- "--kubeconfig=$kubeconfig" --provider=skeleton \
    "--report-dir=$dir" "--kubectl-path=$BIN/kubectl" "--num-nodes=$nodes" --disable-log-dump=true \
    "--dump-logs-on-failure=${DUMP:-true}" >"$dir/log" 2>&1
  echo "$1 part: exit code $?, $((SECONDS - start)) s" | tee "$dir/end"
}
begin=$SECONDS
labels=${LABELS:-Conformance}
part parallel "${PROCS:-12}" "($labels) && !Serial"
part serial 1 "($labels) && Serial"

logs=()
for dir in "$STATE"/n*/data/log; do [ -z "${KUBECONFIG:-}" ] && [ -d "$dir" ] && logs+=("$dir"); done
record=()
case ${RECORD:-} in 1) record=(--record all) ;; update) record=(--record update) ;; esac
python3 "$HERE/report.py" --out "$out" --report "${REPORT:-$WORK/report.md}" --committed "$ROOT/docs/conformance.tsv" --wall $((SECONDS - begin)) \
  --cluster "$($enter "$BIN/kubectl" --kubeconfig "$kubeconfig" version -o json 2>/dev/null | python3 -c 'import json,sys; print(json.load(sys.stdin)["serverVersion"]["gitVersion"])' 2>/dev/null), $nodes node(s)" \
  --commit "$(git -C "$ROOT" describe --always --dirty 2>/dev/null)" ${TESTS:+--tests "$TESTS"} "${record[@]}" --logs "${logs[@]}"
