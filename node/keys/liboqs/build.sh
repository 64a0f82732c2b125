#!/usr/bin/env bash
# Builds liboqs (ML-KEM and ML-DSA only) as a shared library beside this file,
# or under the directory given: build.sh [DIRECTORY]. Nothing is written
# elsewhere; the cargo target folder is removed again at the end.
#
# The library is built for this processor (it verifies in 25 us instead of 34),
# so the instruction sets it may use are written beside it, and Picket does not
# load it on a processor that lacks one of them; nor where it is not the file
# whose digest stands beside it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=${1:-$here/built}

packages="cmake gcc libclang-dev and cargo (on Debian 12: cargo-web)"
missing() { # missing WHAT
  echo "building liboqs needs $1: apt install $packages, or brew install cmake rust" >&2
  exit 1
}
has_libclang() {
  [ "$(uname -s)" != Linux ] || [ -n "${LIBCLANG_PATH:-}" ] ||
    compgen -G '/usr/lib*/llvm*/lib/libclang*.so*' >/dev/null ||
    compgen -G '/usr/lib/*-linux-gnu*/libclang*.so*' >/dev/null ||
    compgen -G '/usr/lib64/libclang*.so*' >/dev/null
}
has_cargo() {
  local version
  version=$(cargo --version 2>/dev/null | sed -nE 's/^cargo 1\.([0-9]+)\..*/\1/p')
  [ "${version:-0}" -ge 70 ]
}

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  wanted=()
  command -v cmake >/dev/null || wanted+=(cmake)
  command -v cc >/dev/null || wanted+=(gcc libc6-dev)
  has_libclang || wanted+=(libclang-dev)
  has_cargo || wanted+=(cargo-web)
  if [ "${#wanted[@]}" -gt 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
  fi
fi
for command in cmake cc; do
  command -v "$command" >/dev/null || missing "$command"
done
has_cargo || missing "cargo 1.70 or later"
has_libclang || missing libclang

case $(uname -s) in
  Darwin) file=liboqs.dylib ;;
  *) file=liboqs.so ;;
esac
mkdir -p "$prefix/lib"
prefix=$(cd "$prefix" && pwd)
target=$(mktemp -d "${TMPDIR:-/tmp}/picket-liboqs.XXXXXX")
trap 'rm -rf "$target"' EXIT
PICKET_LIBOQS_OUT="$prefix/lib/$file.new" cargo build --release --locked --quiet \
  --manifest-path "$here/Cargo.toml" --target-dir "$target"
if [ -r /proc/cpuinfo ]; then
  # `flags` on x86-64, `Features` on ARM; only what a compiler may use.
  grep -m1 -E '^(flags|Features)' /proc/cpuinfo | cut -d: -f2 | tr ' ' '\n' |
    { grep -E '^(sse|ssse|avx|bmi|fma|f16c|sha|aes|vaes|gfni|adx|abm|movbe|popcnt|v?pclmul|asimd|fphp|fcma|jscvt|lrcpc|flagm|i8mm|bf16|pmull|sve|crc32|atomics)' || true; } \
      >"$prefix/lib/$file.cpu"
fi
cmake -E sha256sum "$prefix/lib/$file.new" | cut -d' ' -f1 >"$prefix/lib/$file.sha256"
mv "$prefix/lib/$file.new" "$prefix/lib/$file"
echo "$prefix/lib/$file"
