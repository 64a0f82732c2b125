"""kill -9 at any moment: nothing acknowledged is lost, no feed forks, links come back."""

import contextlib
import random
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from gossip.errors import UserError
from tests.support.daemons import Daemon, cluster, until

pytestmark = pytest.mark.live
RELINK_S = 15.0
"""On a machine of its own it takes well under three; tests share theirs."""


class Talker(threading.Thread):
    """Says one thing after the other, and remembers what was acknowledged."""

    def __init__(self, node: Daemon, name: str) -> None:
        super().__init__(daemon=True)
        self.node, self.prefix = node, name
        self.acknowledged: list[str] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            category = f"{self.prefix}-{number}"
            with contextlib.suppress(UserError):
                self.node.ask("report", subject="ledger", category=category, severity=1)
                self.acknowledged.append(category)
                number += 1


def crash(home: Path, times: int, seed: int) -> None:
    rng = random.Random(seed)
    with cluster(home, ["branch", "ledger"]) as bank:
        bank.start()
        branch, ledger = bank["branch"], bank["ledger"]
        acknowledged: list[str] = []
        for turn in range(times):
            talker = Talker(branch, f"turn-{turn}")
            talker.start()
            time.sleep(rng.uniform(0.0, 0.4))
            branch.end(signal.SIGKILL)
            talker.stopping.set()
            talker.join(10)
            acknowledged = [*acknowledged, *talker.acknowledged][-500:]
            branch.start()
            branch.wait_ready()
            until(lambda: branch.linked() == 1, RELINK_S)
            for node in (branch, ledger):
                until(partial(holds, node, set(acknowledged)))
        for node in (branch, ledger):
            assert "forked" not in node.log, f"seed {seed}"
            assert "defect" not in node.log, f"seed {seed}"
        rows = ledger.ask("quarantine.list")
        assert isinstance(rows, list)
        assert not any(
            isinstance(r, dict) and r["standing"] == "quarantined" for r in rows
        ), f"seed {seed}"


def holds(node: Daemon, wanted: set[str]) -> bool:
    return wanted <= {str(row["category"]) for row in node.reports()}


def test_three_crashes(tmp_path: Path) -> None:
    crash(tmp_path, 3, seed=random.randrange(2**32))


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_two_hundred_crashes(tmp_path: Path) -> None:
    crash(tmp_path, 200, seed=random.randrange(2**32))
