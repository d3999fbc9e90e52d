#!/bin/bash
# Rebuilds every image that the conformance tests use, without a registry: Debian packages, busybox from Debian's source, upstream's
# programs. One docker-archive, $IMG/all.tar, under the names that `e2e.test --list-images` prints. Three minutes cold.
set -euo pipefail
. "$(dirname "$0")/env.sh"
[ ! -s "$IMG/all.tar" ] || [ -n "${CONFORMANCE_IMG:-}" ] || [ "$IMG/all.tar" -nt "$HERE/images.py" ] || rm "$IMG/all.tar"
[ ! -s "$IMG/all.tar" ] || exit 0
mkdir -p "$IMG"
"$HERE/build.sh" suite
source=$(cd "$HERE" && go list -m -f '{{.Dir}}' k8s.io/kubernetes)

# In place of Alpine: the programs that tests call in images.
[ -s "$IMG/base.tar" ] || { mmdebstrap --variant=minbase --components=main \
  --include=bash,curl,bind9-dnsutils,netcat-openbsd,iproute2,iperf,nginx-light,ca-certificates,procps bookworm "$IMG/part-base.tar"
  mv "$IMG/part-base.tar" "$IMG/base.tar"; }

gcc -static -Os -o "$IMG/pause" "$source/build/pause/linux/pause.c"

# busybox as upstream's image has it: 1.37, static, the default configuration. Debian's own binaries drop environment variables
# with names like `data-1`, have no `nc -z`, and bookworm's crashes in `wget -T`.
busybox() {
  local apt=$IMG/source uri
  mkdir -p "$apt/lists/partial"
  uri=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
  [ -n "$uri" ] || uri=$(awk '$1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) {print $i; exit}}' /etc/apt/sources.list)
  cd "$apt"
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri trixie main" >sources.list
  local options=(-o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$apt/lists"
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
  apt-get -qq "${options[@]}" update
  apt-get -qq "${options[@]}" source --download-only busybox
  rm -rf busybox-*/ debian
  tar xf busybox_*.orig.tar.bz2
  tar xf busybox_*.debian.tar.xz
  cd busybox-*/
  patch -p1 -s <../debian/patches/libbb-sha-add-missing-sha-NI-guard.patch
  make -s defconfig >/dev/null
  # `tc` does not compile against current kernel headers.
  sed -i -e 's/# CONFIG_STATIC is not set/CONFIG_STATIC=y/' -e 's/CONFIG_TC=y/# CONFIG_TC is not set/' .config
  { yes '' || true; } | make -s oldconfig >/dev/null 2>&1
  make -s "-j$(nproc)" >../build.log 2>&1
  cp busybox "$IMG/busybox"
}
[ -x "$IMG/busybox" ] || (busybox)

"$BIN/e2e.test" --list-images >"$IMG/names.txt"
python3 "$HERE/images.py" --source "$source/test/images" --bin "$BIN" --img "$IMG"
ls -lh "$IMG/all.tar"
