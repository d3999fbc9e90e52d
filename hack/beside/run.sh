#!/bin/bash
# Asks Skiff's API server and upstream's the same odd requests and prints where their answers differ: `run.sh [create|write|read] [KIND...]`.
# Both run on one etcd (under prefixes of their own) in a network namespace that has loopback alone. Needs root, python3 and openssl.
# SKIFF_BINARY names another binary than target/release/skiff, STOCK_BIN a directory with kube-apiserver (else it is built from Go
# modules), ETCD another etcd. A minute for create, two for write, five for read.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
if [ "${BESIDE_INSIDE:-}" != 1 ]; then
  [ "$(id -u)" = 0 ] || { echo "beside: needs root for a network namespace" >&2; exit 1; }
  skiff=$(realpath "${SKIFF_BINARY:-${CARGO_TARGET_DIR:-target}/release/skiff}")
  stock=${STOCK_BIN:-}
  if [ -z "$stock" ]; then
    e2e/conformance/build.sh stock
    stock=${CONFORMANCE_BIN:-target/conformance/bin}
  fi
  stock=$(realpath "$stock")
  etcd=${ETCD:-$(PATH=$PATH:/usr/sbin command -v etcd)} || { echo "beside: no etcd: hack/deps.sh bench --install" >&2; exit 1; }
  exec unshare -n env BESIDE_INSIDE=1 SKIFF="$skiff" STOCK="$stock/kube-apiserver" ETCD="$etcd" "$here/run.sh" "$@"
fi

dir=$(mktemp -d /tmp/beside.XXXX)
pids=()
finish() {
  [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait || true
  if [ -n "${KEEP:-}" ]; then echo "kept: $dir"; else rm -rf "$dir"; fi
}
trap finish EXIT
ip link set lo up
cd "$dir"
openssl genrsa -out sa.key 2048 2>/dev/null
openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=ca -days 2 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout client.key -out client.csr -subj /O=system:masters/CN=admin 2>/dev/null
printf 'extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n' >extensions
openssl x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out client.crt -days 2 -extfile extensions 2>/dev/null

"$ETCD" --data-dir etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 >etcd.log 2>&1 &
pids+=($!)
flags=(--etcd-servers=http://127.0.0.1:2379 --client-ca-file=ca.crt --advertise-address=127.0.0.1 --service-account-issuer=https://beside
  --service-account-key-file=sa.pub --service-account-signing-key-file=sa.key --service-cluster-ip-range=10.96.0.0/16
  --authorization-mode=RBAC --disable-admission-plugins=ServiceAccount)
"$STOCK" "${flags[@]}" --secure-port=7443 --cert-dir=stock >stock.log 2>&1 &
pids+=($!)
ln -s "$SKIFF" kube-apiserver
./kube-apiserver "${flags[@]}" --etcd-prefix=/skiff --secure-port=7444 --cert-dir=skiff >skiff.log 2>&1 &
pids+=($!)
python3 "$here/beside.py" "$here/objects.jsonl" "$@"
