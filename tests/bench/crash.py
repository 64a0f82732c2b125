"""What kill -9 at random moments costs: nothing acknowledged, and how soon links return.

Run as ``python -m tests.bench.crash [--turns 200]``; prints JSON. Of two real daemons
one says one thing after the other; it is killed at a random moment, started again, and
must hold what it acknowledged, as must its peer, with no feed forked. Times are from
the start of the process, interpreter and imports included, to its answering, to the
link being up, and to both holding all that was ever acknowledged. A machine that others
keep busy makes them wait: "alone" is what the process used of a processor, and what it
waited for its peer besides.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import attrs

from gossip.errors import UserError
from tests.support.daemons import Daemon, cluster, until

PATIENCE_S = 30.0
REMEMBERED_MAX = 500


@attrs.frozen
class Turn:
    """One crash: seconds from the start of the process.

    Attributes:
        cpu_s: What the process itself used of a processor until it was linked.
    """

    said: int
    ready_s: float
    linked_s: float
    held_s: float
    cpu_s: float

    @property
    def alone_s(self) -> float:
        """How soon the link is up where nobody else wants the processor."""
        return self.cpu_s + self.linked_s - self.ready_s


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


def crash(home: Path, turns: int, seed: int) -> list[Turn]:
    """Kill and start ``turns`` times.

    Raises:
        AssertionError: something acknowledged was lost, a feed forked, somebody was
            convicted, or a link did not come back at all.
    """
    rng = random.Random(seed)
    told: list[Turn] = []
    with cluster(home, ["branch", "ledger"]) as bank:
        bank.start()
        branch, ledger = bank["branch"], bank["ledger"]
        acknowledged: list[str] = []
        for number in range(turns):
            talker = Talker(branch, f"turn-{number}")
            talker.start()
            time.sleep(rng.uniform(0.0, 0.4))
            branch.end(signal.SIGKILL)
            talker.stopping.set()
            talker.join(10)
            said = len(talker.acknowledged)
            acknowledged = [*acknowledged, *talker.acknowledged][-REMEMBERED_MAX:]
            told.append(revive(branch, ledger, set(acknowledged), said))
        for node in (branch, ledger):
            assert "forked" not in node.log, f"seed {seed}"
            assert "defect" not in node.log, f"seed {seed}"
        assert not quarantined(ledger), f"seed {seed}"
    return told


def revive(branch: Daemon, ledger: Daemon, wanted: set[str], said: int) -> Turn:
    """Start a killed daemon and wait until all is as it was."""
    began = time.monotonic()
    branch.start()
    branch.wait_ready()
    ready_s = time.monotonic() - began
    until(lambda: branch.linked() == 1, PATIENCE_S)
    linked_s, cpu_s = time.monotonic() - began, cpu_of(branch)
    for node in (branch, ledger):
        until(partial(holds, node, wanted), PATIENCE_S)
    return Turn(said, ready_s, linked_s, time.monotonic() - began, cpu_s)


def cpu_of(node: Daemon) -> float:
    """Seconds of processor that its process has used."""
    assert node.process is not None
    stat = Path(f"/proc/{node.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def holds(node: Daemon, wanted: set[str]) -> bool:
    return wanted <= {str(row["category"]) for row in node.reports()}


def quarantined(node: Daemon) -> bool:
    rows = node.ask("quarantine.list")
    assert isinstance(rows, list)
    return any(isinstance(r, dict) and r["standing"] == "quarantined" for r in rows)


def spread_ms(seconds: list[float]) -> dict[str, float]:
    """The middle, the 99th percentile and the longest, in ms."""
    cuts = quantiles(seconds, n=100, method="inclusive")
    chosen = {"p50": median(seconds), "p99": cuts[98], "max": max(seconds)}
    return {name: round(1_000 * value, 1) for name, value in chosen.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        turns = crash(Path(folder), options.turns, options.seed)
    found = {
        "bench": "crash",
        "turns": len(turns),
        "seed": options.seed,
        "acknowledged": sum(turn.said for turn in turns),
        "ready_ms": spread_ms([turn.ready_s for turn in turns]),
        "relinked_ms": spread_ms([turn.linked_s for turn in turns]),
        "relinked_after_ready_ms": spread_ms([t.linked_s - t.ready_s for t in turns]),
        "cpu_until_linked_ms": spread_ms([turn.cpu_s for turn in turns]),
        "relinked_alone_ms": spread_ms([turn.alone_s for turn in turns]),
        "all_held_ms": spread_ms([turn.held_s for turn in turns]),
        "relinked_within_3_s": sum(turn.linked_s <= 3.0 for turn in turns) / len(turns),
        "load": round(os.getloadavg()[0], 1),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
