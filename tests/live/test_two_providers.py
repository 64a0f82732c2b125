"""Two daemons, one on each provider: they link, and each believes the other."""

from pathlib import Path

import pytest

from tests.node.keys.suites.conftest import liboqs_path as liboqs_path
from tests.support.daemons import Daemon, cluster, picket, until

pytestmark = pytest.mark.live

PROVIDERS = {"north": "openssl", "south": "liboqs"}


def heard(node: Daemon, category: str) -> bool:
    return any(row["category"] == category for row in node.reports())


def test_a_node_on_openssl_and_a_node_on_liboqs_are_one_cluster(
    liboqs_path: Path, tmp_path: Path
) -> None:
    extra = {
        name: f'\n[crypto]\nprovider = "{provider}"\n'
        for name, provider in PROVIDERS.items()
    }
    with cluster(tmp_path, list(PROVIDERS), extra=extra) as pair:
        pair.start()
        for node in pair.nodes:
            status = node.ask("status")
            assert isinstance(status, dict)
            assert status["provider"] == PROVIDERS[node.name]
        for speaker, subject in (("north", "south"), ("south", "north")):
            picket(
                *("report", subject, "--category", f"said-by-{speaker}"),
                *("--severity", "3", "-c", str(pair[speaker].home)),
            )
        for node in pair.nodes:
            for speaker in PROVIDERS:
                until(lambda n=node, s=speaker: heard(n, f"said-by-{s}"))  # type: ignore[misc]  # mypy cannot infer a lambda's default
        for node in pair.nodes:
            assert node.end() == 0
            assert "Traceback" not in node.log
