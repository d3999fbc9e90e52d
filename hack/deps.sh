#!/bin/bash
# Installs what a purpose needs and the machine lacks, from the distribution's packages, saying what.
# usage: deps.sh run|build|test|conformance|bench|profile|vm [--install]   (without root or --install for `build`: only tells, exit 1 if something is missing)
set -euo pipefail
purpose=${1:?usage: deps.sh run|build|test|conformance|bench|profile|vm [--install]}
install=${2:-}
[ "$purpose" != run ] || install=--install

# program or file, Debian package, why
run='containerd containerd container_runtime
ctr containerd importing_images
runc runc container_runtime
ip iproute2 network
nsenter util-linux network'
build='clang clang linker_driver
mold mold linker
/usr/lib/x86_64-linux-gnu/libc.a|/usr/lib/aarch64-linux-gnu/libc.a libc6-dev static_programs_of_the_built-in_images
make make build'
test='nft nftables checking_rules
etcd etcd-server store_tests
curl curl end-to-end_tests
conntrack conntrack end-to-end_tests
ping iputils-ping network_tests
mmdebstrap mmdebstrap test_images
/bin/busybox busybox-static test_images
python3 python3 test_probes'
conformance='python3 python3 images_and_report
mmdebstrap mmdebstrap images
gcc gcc images
/usr/lib/x86_64-linux-gnu/libc.a|/usr/lib/aarch64-linux-gnu/libc.a libc6-dev images
make make images
bzip2 bzip2 images
xz xz-utils images
patch patch images
go golang-go upstream_programs'
bench='nft nftables watching_rules
etcd etcd-server stock_store
/usr/lib/cni/bridge containernetworking-plugins stock_pod_network
conntrack conntrack stock_proxy
go golang-go stock_components'
profile='perf linux-perf samples_of_stacks
nm binutils names_of_functions
nft nftables watching_rules'
vm='qemu-system-x86_64 qemu-system-x86 emulated_machine
qemu-img qemu-utils emulated_machine
mke2fs e2fsprogs emulated_machine
cpio cpio emulated_machine
strip binutils emulated_machine
/bin/busybox busybox-static emulated_machine
mmdebstrap mmdebstrap emulated_machine'

case $purpose in
  run) list=$run ;;
  build) list=$build ;;
  test) list="$run
$build
$test" ;;
  conformance) list="$run
$conformance" ;;
  bench) list="$run
$build
$bench" ;;
  profile) list="$run
$build
$profile" ;;
  vm) list="$build
$vm" ;;
  *) echo "deps.sh: unknown purpose $purpose" >&2; exit 2 ;;
esac

present() { # any of a|b|c: a program in PATH, or a file
  local IFS='|'
  for x in $1; do
    case $x in /*) [ -e "$x" ] && return 0 ;; *) command -v "$x" >/dev/null 2>&1 && return 0 ;; esac
  done
  PATH=$PATH:/usr/sbin:/sbin command -v "${1%%|*}" >/dev/null 2>&1
}

missing=()
while read -r what package why; do
  if ! present "$what"; then
    missing+=("$package")
    echo "missing: ${what%%|*} (${why//_/ }), from package $package"
  fi
done <<<"$list"
[ ${#missing[@]} -gt 0 ] || exit 0
[ "$install" = --install ] || exit 1
[ "$(id -u)" = 0 ] || { echo "installing needs root: run it with sudo" >&2; exit 1; }
command -v apt-get >/dev/null || { echo "only apt-get is known here: install these packages by hand: ${missing[*]}" >&2; exit 1; }
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# Services of these packages are not started: Skiff runs its own instances.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; made=1; fi
trap '[ -z "$made" ] || rm -f $policy' EXIT
apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
