#!/bin/bash
# Builds stock kubectl of the version we follow into target/tools, where Go is present. The end-to-end tests use it beside the
# one in PATH.
set -euo pipefail
version=v1.36.3
cd "$(dirname "$0")/.."
out=target/tools/kubectl-$version
[ -x "$out" ] && exit 0
command -v go >/dev/null || { echo "Go is not installed: the tests use kubectl from PATH alone"; exit 0; }
mkdir -p target/tools/kubectl-src
cd target/tools/kubectl-src
echo "building kubectl $version with Go (a minute or two)"
export CGO_ENABLED=0 GOFLAGS=-mod=mod
if [ ! -f go.mod ]; then
  go mod init kubectl >/dev/null 2>&1
  go mod edit -require "k8s.io/kubernetes@$version"
  modfile=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
  for m in $(sed -n 's#^\s*\(k8s.io/\S*\) => ./staging/.*#\1#p' "$modfile"); do
    go mod edit -replace "$m=$m@v0.${version#v1.}"
  done
  printf '//go:build tools\n\npackage tools\n\nimport _ "k8s.io/kubernetes/cmd/kubectl"\n' >tools.go
  go mod tidy -e >/dev/null 2>&1
fi
package=k8s.io/component-base/version
go build -ldflags "-s -w -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=36" \
  -o "../kubectl-$version" k8s.io/kubernetes/cmd/kubectl
