#!/bin/bash
# Writes a docker archive with a static busybox as docker.io/library/busybox:1.36.
# usage: busybox-image.sh FILE
set -euo pipefail
out=$(realpath -m "${1:?usage: busybox-image.sh FILE}")
busybox=/bin/busybox
[ -x $busybox ] || { echo "busybox-static is missing: hack/deps.sh vm --install" >&2; exit 1; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
mkdir -p "$t"/root/{bin,etc,tmp} "$t/image/layer"
cp $busybox "$t/root/bin/busybox"
$busybox --list | while read -r a; do [ "$a" = busybox ] || ln -s busybox "$t/root/bin/$a"; done
echo 'root:x:0:0:root:/root:/bin/sh' >"$t/root/etc/passwd"
tar -C "$t/root" --owner=0 --group=0 --numeric-owner -cf "$t/image/layer/layer.tar" .
digest=$(sha256sum <"$t/image/layer/layer.tar" | cut -d' ' -f1)
arch=$(dpkg --print-architecture)
cat >"$t/image/config.json" <<J
{"architecture":"$arch","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:$digest"]}}
J
echo '[{"Config":"config.json","RepoTags":["docker.io/library/busybox:1.36"],"Layers":["layer/layer.tar"]}]' >"$t/image/manifest.json"
tar -C "$t/image" -cf "$out" config.json layer/layer.tar manifest.json
