#!/usr/bin/env bash
# Builds liboqs (ML-KEM and ML-DSA only) as a shared library beside this file,
# or under the directory given: build.sh [DIRECTORY]. Nothing is written
# elsewhere; the cargo target folder is removed again at the end.
#
# The library is built for this processor (it verifies in 25 us instead of 34),
# so the instruction sets it may use are written beside it, and Picket does not
# load it on a processor that lacks one of them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=${1:-$here/built}

need() { # need COMMAND DEBIAN_PACKAGE
  command -v "$1" >/dev/null && return
  echo "building liboqs needs $1: apt install $2 (or brew install $2)" >&2
  exit 1
}
need cargo cargo
need cmake cmake
need cc gcc

case $(uname -s) in
  Darwin) file=liboqs.dylib ;;
  *) file=liboqs.so ;;
esac
if [ "$(uname -s)" = Linux ] && [ -z "${LIBCLANG_PATH:-}" ] &&
   ! compgen -G '/usr/lib*/llvm*/lib/libclang*.so*' >/dev/null &&
   ! compgen -G '/usr/lib/*-linux-gnu*/libclang*.so*' >/dev/null &&
   ! compgen -G '/usr/lib64/libclang*.so*' >/dev/null; then
  echo "building liboqs needs libclang: apt install libclang-dev" >&2
  exit 1
fi

mkdir -p "$prefix/lib"
target=$(mktemp -d "${TMPDIR:-/tmp}/picket-liboqs.XXXXXX")
trap 'rm -rf "$target"' EXIT
PICKET_LIBOQS_OUT="$prefix/lib/$file.new" cargo build --release --locked --quiet \
  --manifest-path "$here/Cargo.toml" --target-dir "$target"
if [ -r /proc/cpuinfo ]; then
  # `flags` on x86-64, `Features` on ARM; only what a compiler may use.
  grep -m1 -E '^(flags|Features)' /proc/cpuinfo | cut -d: -f2 | tr ' ' '\n' |
    { grep -E '^(sse|ssse|avx|bmi|fma|f16c|sha|aes|vaes|gfni|adx|abm|movbe|popcnt|v?pclmul|asimd|sve|crc32|atomics)' || true; } \
      >"$prefix/lib/$file.cpu"
fi
mv "$prefix/lib/$file.new" "$prefix/lib/$file"
echo "$prefix/lib/$file"
