#!/bin/bash
# A Debian virtual machine in software emulation (no KVM needed), for what a container-like machine cannot show: pure cgroup v2,
# a reboot, a power cut. Its processor is some 15 times slower than the machine's own; a boot to a shell takes about 10 s.
#   vm.sh test                        what `make test-vm` runs: Skiff from the first start to the last trace
#   vm.sh build                       makes the machine (disk, kernel, initrd) if it is not there yet
#   vm.sh run DISK SCRIPT [FILE...]   boots DISK (made when missing), runs SCRIPT as root with the files beside it, exits as it does
# Environment: SKIFF_BINARY and KUBECTL (what is tested), SKIFF_VM_DIR (where the machine is kept), SKIFF_VM_SUITE (Debian's name),
# SKIFF_VM_MEMORY (MB), SKIFF_VM_CPUS. Packages: hack/deps.sh vm --install.
set -euo pipefail
cd "$(dirname "$0")/.."
parts=$PWD/hack/vm
vm=$(realpath -m "${SKIFF_VM_DIR:-target/vm}")
# The guest has the host's libraries, since the tested binary links to them; on anything but Debian it has this release's.
suite=${SKIFF_VM_SUITE:-$(. /etc/os-release; [ "$ID" = debian ] && echo "${VERSION_CODENAME:-bookworm}" || echo bookworm)}
packages=linux-image-cloud-$(dpkg --print-architecture),kmod,containerd,runc,nftables,iproute2,procps,curl

say() { echo "vm: $*"; }
die() { echo "vm: $*" >&2; exit 1; }

# The machine is made anew when what it is made of has changed.
build() {
  local stamp root kernel
  stamp=$(echo "$suite $packages" | cat - "$parts/init" "$parts/initrd-init" | sha256sum)
  [ "$(cat "$vm/stamp" 2>/dev/null)" = "$stamp" ] && return
  [ "$(id -u)" = 0 ] || die "making the machine needs root: run it with sudo"
  say "making a Debian $suite machine in $vm"
  rm -rf "$vm"; mkdir -p "$vm"
  root=$vm/root
  mmdebstrap --quiet --variant=minbase --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "$root"
  kernel=$(basename "$(echo "$root"/lib/modules/*)")
  cp "$root/boot/vmlinuz-$kernel" "$vm/vmlinuz"
  install "$parts/init" "$root/sbin/vm-init"
  echo vm >"$root/etc/hostname"
  echo "127.0.0.1 localhost vm" >"$root/etc/hosts"
  echo "nameserver 198.51.100.53" >"$root/etc/resolv.conf"
  rm -rf "${root:?}"/boot/*
  build_initrd "$root" "$kernel"
  truncate -s 6G "$vm/disk.img"
  mke2fs -q -t ext4 -d "$root" "$vm/disk.img"
  rm -rf "$root"
  echo "$stamp" >"$vm/stamp"
}

# busybox, the modules that the root disk needs, in order, and a script that loads them.
build_initrd() {
  local root=$1 kernel=$2 tree=$vm/initrd module file n=10
  mkdir -p "$tree"/{bin,modules,proc,sys,dev,new}
  cp /bin/busybox "$tree/bin/busybox"
  install "$parts/initrd-init" "$tree/init"
  for module in virtio_pci virtio_blk crc32c_generic ext4; do
    chroot "$root" modprobe --set-version "$kernel" --show-depends "$module" 2>/dev/null || true
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
    case $file in
      *.xz) xz -dc "$root$file" ;;
      *.zst) zstd -dqc "$root$file" ;;
      *) cat "$root$file" ;;
    esac >"$tree/modules/$n-$(basename "${file%%.ko*}").ko"
    n=$((n + 1))
  done
  (cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) >"$vm/initrd.gz"
  rm -rf "$tree"
}

# Starts the machine in the background: $machine is its process, its console goes to $2.
boot() { # DISK CONSOLE SCRIPT [FILE...]
  local disk=$1 console=$2 script=$3
  shift 3
  local job=$work/job
  rm -rf "$job"; mkdir "$job"
  install "$script" "$job/job"
  [ $# = 0 ] || cp -rL "$@" "$job"
  tar -C "$job" -cf "$work/job.tar" .
  [ -e "$disk" ] || qemu-img create -q -f qcow2 -b "$vm/disk.img" -F raw "$disk"
  : >"$console"
  qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp "${SKIFF_VM_CPUS:-2}" -m "${SKIFF_VM_MEMORY:-1024}" \
    -display none -vga none -monitor none -serial stdio -no-reboot -nic none -kernel "$vm/vmlinuz" -initrd "$vm/initrd.gz" \
    -append "console=ttyS0 quiet loglevel=2 panic=-1" -drive "file=$disk,if=virtio,format=qcow2,cache=writeback" \
    -drive "file=$work/job.tar,if=virtio,format=raw,readonly=on" </dev/null >"$console" 2>&1 &
  machine=$!
}

# Shows the console until the machine ends; answers what its script answered.
follow() { # CONSOLE
  tail -n +1 -f --pid="$machine" "$1" | sed -u '/^ACK /d; s/\r$//'
  wait "$machine" || true
  machine=
  local status
  status=$(tr -d '\r' <"$1" | sed -n 's/^VM_STATUS=//p' | tail -n 1)
  return "${status:-1}"
}

work=
machine=
scratch() {
  work=$(mktemp -d "$vm/work.XXXXXX")
  trap '[ -z "$machine" ] || kill -9 "$machine"; rm -rf "$work"' EXIT
}

run() {
  local disk=${1:?usage: vm.sh run DISK SCRIPT [FILE...]} script=${2:?usage: vm.sh run DISK SCRIPT [FILE...]}
  shift 2
  build
  scratch
  boot "$disk" "$work/console" "$script" "$@"
  follow "$work/console"
}

# A kubectl that needs nothing of the machine it runs on.
static_kubectl() {
  local k
  for k in "${KUBECTL:-}" target/tools/kubectl-v* "$(command -v kubectl || true)"; do
    [ -x "$k" ] && [ "$(head -c 4 "$k" | tail -c 3)" = ELF ] && { realpath "$k"; return; }
  done
  die "no kubectl found: set KUBECTL, or install Go and run hack/kubectl.sh"
}

# Shows the console until it has told of so many acknowledged writes.
until_written() { # COUNT
  local line n=0
  while IFS= read -r line; do
    case $line in
      "ACK "*) n=$((n + 1)); [ "$n" -lt "$1" ] || return 0 ;;
      *) echo "${line%$'\r'}" ;;
    esac
  done
}

test_skiff() {
  local binary=${SKIFF_BINARY:-target/release/skiff} kubectl acknowledged
  [ -x "$binary" ] || die "$binary is missing: make build"
  kubectl=$(static_kubectl)
  build
  scratch
  mkdir "$work/bin"
  cp "$binary" "$work/bin/skiff"
  strip "$work/bin/skiff" 2>/dev/null || true
  cp "$kubectl" "$work/bin/kubectl"
  hack/vm/busybox-image.sh "$work/busybox.tar"

  say "first boot: up, limits, OOM, then writes until the power goes"
  boot "$work/disk.qcow2" "$work/console" "$parts/first-boot" "$parts/guest.sh" "$work/bin" "$work/busybox.tar" \
    manifests/examples/hello.yaml "$parts/limits.yaml" "$parts/late.yaml"
  # The power goes in the midst of the writes, or the machine gave up earlier.
  tail -n +1 -f --pid="$machine" "$work/console" | until_written $((300 + RANDOM % 200)) || true
  kill -9 "$machine" 2>/dev/null || true
  wait "$machine" 2>/dev/null || true
  machine=
  tr -d '\r' <"$work/console" | sed -n 's/^ACK \([a-z0-9-]* [0-9]*\) 20[01]$/\1/p' >"$work/acknowledged"
  acknowledged=$(wc -l <"$work/acknowledged")
  grep -q '^VM_STATUS=' "$work/console" && die "the first boot failed"
  [ "$acknowledged" -gt 100 ] || die "the first boot ended after $acknowledged acknowledged writes"
  say "the power is cut after $acknowledged acknowledged writes"

  say "second boot: everything must be there; then down --purge must leave nothing"
  boot "$work/disk.qcow2" "$work/console" "$parts/second-boot" "$parts/guest.sh" "$work/acknowledged"
  follow "$work/console" || die "the second boot failed"
  say "passed"
}

case ${1:-} in
  build | run) "$@" ;;
  test) test_skiff ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"; exit 2 ;;
esac
