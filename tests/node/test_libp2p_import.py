"""What an idle daemon does not hold; docs/decisions/0022."""

import subprocess
import sys

SCRIPT = """
import sys
import node.daemon
assert "jsonschema_rs" not in sys.modules, "a node without servers has no schemas"
assert "libp2p" not in sys.modules, "a lone guard has no links"
from node.libp2p_import import UNUSED, import_libp2p
import_libp2p()
import node.cluster_links
held = [name for name in UNUSED if sys.modules.get(name)]
assert not held, held
import charset_normalizer
"""


def test_the_daemon_imports_no_more_than_it_uses_and_breaks_nobodys_imports() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    assert not done.stderr
