#!/bin/bash
# Unpacks containerd 2.x of Debian without installing it: the suite mounts image volumes, which older ones cannot. The machine's own
# packages and apt settings stay as they are.
set -euo pipefail
. "$(dirname "$0")/env.sh"

unpack() { # unpack PACKAGE SUITE DIRECTORY
  local apt=$WORK/apt/$2 uri
  mkdir -p "$apt/lists/partial" "$apt/get" "$3"
  uri=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
  [ -n "$uri" ] || uri=$(awk '$1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) {print $i; exit}}' /etc/apt/sources.list)
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $2 main" >"$apt/sources.list"
  local options=(-o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$apt/lists"
    -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" -o APT::Sandbox::User=root)
  apt-get -qq "${options[@]}" update
  (cd "$apt/get" && rm -f "$1"_*.deb && apt-get -qq "${options[@]}" download "$1/$2" && dpkg-deb -x "$1"_*.deb "$3")
}

[ -x "$RUNTIME/containerd" ] || unpack containerd sid "$WORK/containerd"
"$RUNTIME/containerd" --version
