"""What daemons hold: idle, and after a million reports; prints JSON.

Run as ``python -m tests.bench.memory [--reports 1000000] [--idle 16]``. First so many
real daemons link, and idle. Then it is one real daemon as a process of its own: this
process is a neighbour of it, holds the keys of the other members, and gives it what
they said within the last hour, 64 reports under each real signature, as to a node that
catches up. Each author lets go of what is over its share, as its own daemon would.
Resident memory is read from the outside, at every twentieth.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import attrs
import trio

from gossip import limits
from gossip.domains import Domain
from gossip.ledger.batch import NO_PREVIOUS, Batch, draft_batch, read_batch_untrusted
from gossip.ledger.entries import (
    Checkpoint,
    EntryKind,
    Keys,
    Report,
    Subject,
    SubjectKind,
    Witness,
    write_checkpoint,
    write_keys,
    write_report,
)
from gossip.membership.roster import Roster
from gossip.spread import frames
from gossip.units import INCARNATION_BYTES, Incarnation, NodeId, UnixMs
from node.clock import SystemClock
from node.config import load_config, load_founders
from node.keys.keystore import ROOT, Keystore
from node.keys.node_keys import NodeKeys, fresh_keys, renew_node
from node.keys.suites.registry import load_suite
from node.links.links import Links
from tests.support.daemons import Cluster, Daemon, cluster, until

MEMBERS = 16
SUBJECTS = 2_000
HOUR_MS = 3_600_000
SAMPLES = 20
IDLE_S = 5.0
BEHIND_MAX = 64
"""Batches given and not yet held, so that this process does not swell either."""
PATIENCE_S = 300.0
RESTART_S_MAX = 1_200.0


@attrs.define
class Author:
    """One member that speaks through this process."""

    keys: NodeKeys
    roster: Roster
    begin_ms: int
    step_ms: float
    incarnation: Incarnation
    _number: int = 0
    _last: bytes = NO_PREVIOUS
    _held: deque[tuple[int, int, bytes]] = attrs.field(factory=deque)
    _bytes: int = 0

    def say(self, entries: list[tuple[int, bytes]]) -> Batch:
        """The next batch."""
        draft = draft_batch(
            cluster=self.roster.cluster,
            author=self.keys.chain.node,
            incarnation=self.incarnation,
            number=self._number,
            previous=self._last,
            issued_at_ms=UnixMs(self.begin_ms + round(self._number * self.step_ms)),
            key=self.keys.chain.key,
            entries=entries,
        )
        signature = self.keys.signing_key.sign(draft.header, Domain.BATCH)
        batch = read_batch_untrusted(draft.join(signature))
        self._held.append((batch.number, len(batch.encoded), self._last))
        self._bytes += len(batch.encoded)
        self._number, self._last = self._number + 1, batch.id
        return batch

    def open(self) -> Batch:
        keys = Keys(chain=self.keys.chain.encoded, closes=None)
        return self.say([(int(EntryKind.KEYS), write_keys(keys))])

    def prune(self) -> Batch | None:
        """Let go of what is over half of our share, once that is a good deal."""
        share = self.roster.author_bytes_max // 2
        if self._bytes <= share + (1 << 20):
            return None
        while self._bytes > share:
            self._bytes -= self._held.popleft()[1]
        number, _, previous = self._held[0]
        told = Checkpoint(
            incarnation=self.incarnation, number=number, previous=previous
        )
        return self.say([(int(EntryKind.CHECKPOINT), write_checkpoint(told))])


def write_reports(first: int, now_ms: int) -> list[tuple[int, bytes]]:
    """As many reports as fit one batch, about many agents."""
    seen = Witness(
        digest=first.to_bytes(32, "big"),
        count=1,
        first_ms=UnixMs(now_ms),
        last_ms=UnixMs(now_ms),
    )
    return [
        (
            int(EntryKind.REPORT),
            write_report(
                Report(
                    subject=Subject(
                        SubjectKind.AGENT, (number % SUBJECTS).to_bytes(32, "big")
                    ),
                    category=f"bench-{number % 7}",
                    severity=1 + number % 3,
                    evidence=seen,
                )
            ),
        )
        for number in range(first, first + limits.BATCH_ENTRIES_MAX)
    ]


def speeches(authors: list[Author], reports: int, now_ms: int) -> Iterator[Batch]:
    """All that is said, author by author in turn."""
    yield from (author.open() for author in authors)
    for turn, first in enumerate(range(0, reports, limits.BATCH_ENTRIES_MAX)):
        author = authors[turn % len(authors)]
        yield author.say(write_reports(first, now_ms))
        pruned = author.prune()
        if pruned is not None:
            yield pruned


def idle(home: Path, count: int) -> list[float]:
    """What each of so many daemons holds resident, linked and idle, in MB."""
    with cluster(home, [f"n{number}" for number in range(count)]) as town:
        for node in town.nodes:
            node.start()
        for node in town.nodes:
            node.wait_ready()
            until(lambda node=node: node.linked() >= min(count - 1, 5), PATIENCE_S)  # type: ignore[misc]  # mypy cannot infer a lambda's default
        time.sleep(IDLE_S)
        return sorted(round(resident_mb(node), 1) for node in town.nodes)


def resident_mb(node: Daemon) -> float:
    assert node.process is not None
    pages = int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def heads(node: Daemon) -> int:
    """Batches it holds, or held and let go."""
    status = node.ask("status")
    assert isinstance(status, dict)
    count = status["heads"]
    assert isinstance(count, int)
    return count


async def give_all(
    town: Cluster, batches: Iterator[Batch], links: Links, expected: int
) -> list[tuple[int, float]]:
    """Give all to the daemon; returns what it held resident on the way."""
    daemon, samples = town.nodes[0], [(0, resident_mb(town.nodes[0]))]
    me = daemon_id(town)
    own = heads(daemon)
    given = 0
    for batch in batches:
        frame = frames.give(batch.encoded)
        while not links.send(me, frame):  # noqa: ASYNC110  # nobody tells when it may
            await trio.sleep(0.01)
        given += 1
        if given % BEHIND_MAX == 0:
            with trio.fail_after(PATIENCE_S):
                while heads(daemon) - own < given - BEHIND_MAX:  # noqa: ASYNC110
                    await trio.sleep(0.02)
        if given * SAMPLES // expected > len(samples) - 1:
            samples.append((given, resident_mb(daemon)))
    with trio.fail_after(PATIENCE_S):
        while heads(daemon) - own < given:  # noqa: ASYNC110  # another process
            await trio.sleep(0.05)
    samples.append((given, resident_mb(daemon)))
    return samples


def daemon_id(town: Cluster) -> NodeId:
    config = load_config(town.nodes[0].config)
    found = Roster(load_founders(config)).by_name(config.name)
    assert found is not None
    return found


async def measure(town: Cluster, reports: int) -> dict[str, object]:
    clock, suite = SystemClock(), load_suite()
    roster = Roster(load_founders(load_config(town.nodes[0].config)))
    began_ms = clock.unix_ms()
    keys = []
    for node in town.nodes[1:]:
        root = Keystore(node.home / "keys").load(ROOT)
        renew_node(node.home, root, suite, UnixMs(began_ms - 2 * HOUR_MS))
        keys.append(fresh_keys(node.home, suite, began_ms))
    turns = reports // limits.BATCH_ENTRIES_MAX // len(keys) + 1
    authors = [
        Author(
            keys=own,
            roster=roster,
            begin_ms=began_ms - HOUR_MS,
            step_ms=HOUR_MS / (turns * 1.1),
            incarnation=Incarnation(suite.random(INCARNATION_BYTES)),
        )
        for own in keys
    ]
    links = Links(
        suite=suite,
        signing_key=keys[0].signing_key,
        chain=keys[0].chain,
        roster=roster,
        cluster=roster.cluster,
        listen=(),
        on_event=lambda event: None,
        now_ms=clock.unix_ms,
    )
    me = daemon_id(town)
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        links.want(me, roster.member(me).addresses)
        began = perf_counter()
        expected = reports // limits.BATCH_ENTRIES_MAX
        batches = speeches(authors, reports, began_ms)
        samples = await give_all(town, batches, links, expected)
        seconds = perf_counter() - began
        nursery.cancel_scope.cancel()
    daemon = town.nodes[0]
    half = samples[len(samples) // 2][1]
    database = next(daemon.home.rglob("picket.db"))
    return {
        "reports": reports,
        "batches": samples[-1][0],
        "seconds": round(seconds),
        "rss_mb": [round(mb, 1) for _, mb in samples],
        "rss_idle_mb": round(samples[0][1], 1),
        "rss_end_mb": round(samples[-1][1], 1),
        "second_half_grew_mb": round(samples[-1][1] - half, 1),
        "store_mb": round(database.stat().st_size / (1 << 20), 1),
        "restart_s": restart(daemon),
        "rss_restarted_mb": round(resident_mb(daemon), 1),
        "load": round(os.getloadavg()[0], 1),
    }


def restart(daemon: Daemon) -> float:
    """Seconds until it answers again, everything read back."""
    daemon.end()
    began = perf_counter()
    daemon.start()
    until(lambda: daemon.log.count("is ready") == 2, RESTART_S_MAX)
    return round(perf_counter() - began, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=1_000_000)
    parser.add_argument("--idle", type=int, default=MEMBERS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        idling = idle(Path(folder), options.idle)
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster(Path(folder), [f"n{number}" for number in range(MEMBERS)]) as town,
    ):
        town.nodes[0].start()
        town.nodes[0].wait_ready()
        found = trio.run(measure, town, options.reports)
    sys.stdout.write(json.dumps({"bench": "memory", "idle_mb": idling, **found}) + "\n")


if __name__ == "__main__":
    main()
