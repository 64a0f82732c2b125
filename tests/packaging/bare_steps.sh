# What bare_root.sh runs inside the new root. The first step that fails ends it.
set -euo pipefail
cd /picket
# A folder of wheels that stayed outside would only make pip warn for every package.
case "${PIP_FIND_LINKS:-}" in /*) unset PIP_FIND_LINKS ;; esac

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

# Import every module below the packages named; a __main__ would start something.
import_all='
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(package.__path__, name + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
'

step "nothing here can compile"
for tool in cc gcc g++ clang; do
  if command -v "$tool"; then echo "there is a compiler"; exit 1; fi
done
if [ -e /usr/include/gmp.h ]; then echo "there is libgmp-dev"; exit 1; fi

step "make setup"
make setup

step "it starts"
.venv/bin/picket --version
.venv/bin/python -c "$import_all" gossip enforcement node
.venv/bin/python -c 'from libp2p import new_host'

step "make setup once more does nothing"
[ -z "$(make setup)" ]

step "make dist, and a plain pip install of the wheel"
make dist
python3 -m venv /plain
/plain/bin/pip install --quiet /picket/dist/picketd-*.whl
cd /
/plain/bin/picket --version

step "it came without libp2p, which the commands do not need to load"
/plain/bin/python -c "$import_all" gossip enforcement node.cli
if /plain/bin/python -c 'import libp2p' 2>/dev/null; then echo "libp2p came along"; exit 1; fi

step "left to itself, pip would compile to get libp2p"
if /plain/bin/pip install --quiet libp2p==0.8.1 >/libp2p.log 2>&1; then
  echo "it does not any more: decision 0001 can be taken back"
  exit 1
fi
grep -m 1 'Failed building wheel' /libp2p.log

step "one more line and the daemon is complete"
/plain/bin/pip install --quiet --no-deps libp2p==0.8.1
/plain/bin/python -c "$import_all" gossip enforcement node
/plain/bin/python -c 'from libp2p import new_host'

step "done"
