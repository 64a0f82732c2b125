#!/usr/bin/env bash
# Prove that a Debian 12 with git, make and python3-venv, but without a compiler, can set
# Picket up from its locks, and see what a plain `pip install` of its wheel does there.
# Needs root and debootstrap. The machine's own mirrors, certificates and pip
# configuration are lent to the new root while this runs and removed with it.
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() { echo "skipped: $1"; exit 0; }
[ "$(id -u)" = 0 ] || skip "making a new root takes root"
command -v debootstrap >/dev/null || skip "debootstrap is missing; run: apt install debootstrap"

root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
  awk '$1 == "bookworm" { print $2; exit }') || mirror=

echo "making the root (about a minute)"
debootstrap --variant=minbase --include=git,make,python3-venv,ca-certificates \
  bookworm "$root" $mirror >"$root.log" 2>&1 || { tail "$root.log"; rm "$root.log"; exit 1; }
rm "$root.log"

lend=(/etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf
  "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf")
for file in "${lend[@]}"; do
  if [ -e "$file" ]; then
    mkdir -p "$root$(dirname "$file")"
    cp -L --remove-destination "$file" "$root$file"
  fi
done
git clone --quiet . "$root/picket"
cp tests/packaging/bare_steps.sh "$root/steps.sh"
unshare --mount bash -c 'mount -t proc proc "$0/proc" && exec chroot "$0" bash /steps.sh' "$root"
