"""Real daemons, one of which floods the others: everything else is heard, and stays."""

import threading
import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.daemons import Daemon, cluster, until

pytestmark = pytest.mark.live
JUNK_A_SECOND = 100
TRUSTED = 40


class Junk(threading.Thread):
    """Reports a hundred times a second, of somebody else each time."""

    def __init__(self, node: Daemon) -> None:
        super().__init__(daemon=True)
        self.node, self.said, self.enough = node, 0, threading.Event()

    def run(self) -> None:
        began = time.monotonic()
        while not self.enough.is_set():
            due = int((time.monotonic() - began) * JUNK_A_SECOND) - self.said
            for _ in range(due):
                subject = f"agent:{self.said:064x}"
                self.node.ask("report", subject=subject, category="junk", severity=1)
                self.said += 1
            self.enough.wait(0.01)


def test_a_member_that_floods_hides_nothing_and_evicts_nothing(tmp_path: Path) -> None:
    with cluster(tmp_path, ["branch", "ledger", "vault"]) as bank:
        bank.start()
        branch, ledger = bank["branch"], bank["ledger"]
        junk = Junk(bank["vault"])
        junk.start()
        for number in range(TRUSTED):
            category = f"trusted-{number}"
            branch.ask("report", subject="vault", category=category, severity=1)
        junk.enough.set()
        junk.join(10)

        wanted = {f"trusted-{number}" for number in range(TRUSTED)}
        until(partial(holds, ledger, wanted))
        ledger.end()
        ledger.start()
        ledger.wait_ready()
        until(partial(holds, ledger, wanted))
        assert "closed the link" not in ledger.log
        assert junk.said >= JUNK_A_SECOND / 10


def holds(node: Daemon, wanted: set[str]) -> bool:
    return wanted <= {str(row["category"]) for row in node.reports()}
