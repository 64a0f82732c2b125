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

packages="cmake gcc libclang-dev and cargo (on Debian 12: cargo-web)"
missing() { # missing WHAT
  echo "building liboqs needs $1: apt install $packages, or brew install cmake rust" >&2
  exit 1
}
for command in cargo cmake cc; do
  command -v "$command" >/dev/null || missing "$command"
done
version=$(cargo --version | sed -nE 's/^cargo 1\.([0-9]+)\..*/\1/p')
[ "${version:-0}" -ge 70 ] || missing "cargo 1.70 or later, not $(cargo --version)"

case $(uname -s) in
  Darwin) file=liboqs.dylib ;;
  *) file=liboqs.so ;;
esac
if [ "$(uname -s)" = Linux ] && [ -z "${LIBCLANG_PATH:-}" ] &&
   ! compgen -G '/usr/lib*/llvm*/lib/libclang*.so*' >/dev/null &&
   ! compgen -G '/usr/lib/*-linux-gnu*/libclang*.so*' >/dev/null &&
   ! compgen -G '/usr/lib64/libclang*.so*' >/dev/null; then
  missing libclang
fi

mkdir -p "$prefix/lib"
prefix=$(cd "$prefix" && pwd)
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
