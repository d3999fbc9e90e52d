#!/bin/bash
# Builds upstream's programs from the Go module proxy into $BIN: what the suite needs, and with `stock` the stock components too.
# usage: build.sh [suite|stock|all]     Cold: 6 minutes for the suite, 8 more for the stock components, on two cores.
set -euo pipefail
. "$(dirname "$0")/env.sh"
export CGO_ENABLED=0
mkdir -p "$BIN"
minor=${VERSION#v1.}
package=k8s.io/component-base/version
flags="-s -w -X $package.gitVersion=$VERSION -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"

build() { # build NAME PACKAGE [DIRECTORY of another module]
  [ -x "$BIN/$1" ] && return
  command -v go >/dev/null || { echo "Go is needed to build $1 (Debian: golang-go, or https://go.dev)" >&2; exit 1; }
  local start=$SECONDS
  echo "building $1"
  case $1 in
    e2e.test) (cd "$HERE" && go test -c -ldflags "$flags" -o "$BIN/.$1" "$2") ;;
    *) (cd "$HERE/${3:-.}" && go build -ldflags "$flags" -o "$BIN/.$1" "$2") ;;
  esac
  mv "$BIN/.$1" "$BIN/$1"
  echo "built $1 in $((SECONDS - start)) s"
}

suite() {
  build ginkgo github.com/onsi/ginkgo/v2/ginkgo
  build e2e.test k8s.io/kubernetes/test/e2e
  build kubectl k8s.io/kubernetes/cmd/kubectl
  build agnhost k8s.io/kubernetes/test/images/agnhost
  build nnp k8s.io/kubernetes/test/images/nonewprivs
  build sample-apiserver k8s.io/sample-apiserver
  build etcd . etcd
  build coredns . coredns
}

stock() {
  for c in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do build $c k8s.io/kubernetes/cmd/$c; done
}

case ${1:-suite} in
  suite) suite ;;
  stock) stock ;;
  all) suite; stock ;;
  *) echo "usage: build.sh [suite|stock|all]" >&2; exit 2 ;;
esac
