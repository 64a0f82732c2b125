"""What a delivered report costs: CPU, duplicates and bytes for each node; JSON.

Run as ``python -m tests.bench.cpu [--nodes 32] [--reports 400] [--rate 20]``. All
nodes are in one process, each with its own driver, engine, court, store and links:
libp2p over TCP on loopback. A delivery is one report admitted at one node, its
signature verified there. The CPU of all threads counts, and what the links cost
when nothing is said is measured first, once the tree has grown, and printed beside it.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter, process_time

import attrs
import trio

from enforcement.decide.court import Court
from gossip import events
from gossip.domains import Domain
from gossip.engine import Engine
from gossip.errors import UserError
from gossip.intake import read_once
from gossip.ledger.entries import (
    Entry,
    EntryKind,
    Report,
    Subject,
    SubjectKind,
    Witness,
)
from gossip.membership.roster import Roster
from gossip.units import INCARNATION_BYTES, Incarnation, NodeId, UnixMs
from node.clock import SystemClock
from node.driver import Driver
from node.garbage import collect_rarely
from node.keys.suites.registry import SuiteWithKeys, load_suite
from node.links.events import Frame, LinkDown, LinkEvent, LinkUp
from node.links.links import Links
from node.log import Log
from node.metrics import Metrics
from node.store import Store
from tests.support.members import Member, founders, member

CLOCK = SystemClock()
IDLE_S = 5.0
DRAIN_S = 20.0
PATIENCE_S = 120.0
VERIFIES = 200


@attrs.define
class Node:
    """One daemon's gossip, without its proxies."""

    who: Member
    links: "BenchLinks"
    driver: Driver
    heard: int = 0

    def hear(self, entry: Entry) -> None:
        self.heard += entry.kind == EntryKind.REPORT


class BenchLinks:
    """What the daemon's `ClusterLinks` does, for members whose ports are free ones."""

    def __init__(self, links: Links, where: "dict[NodeId, BenchLinks]") -> None:
        self.links = links
        self._where = where
        self._sought: frozenset[NodeId] = frozenset()

    def send(self, peer: NodeId, frame: bytes) -> bool:
        return self.links.send(peer, frame)

    def drop(self, peer: NodeId) -> None:
        self.links.drop(peer)

    def seek(self, peers: frozenset[NodeId]) -> None:
        for peer in sorted(self._sought - peers):
            self.links.unwant(peer)
            self.links.drop(peer)
        for peer in sorted(peers - self._sought):
            self.links.want(peer, self._where[peer].links.listening)
        self._sought = peers


def make(
    suite: SuiteWithKeys, names: list[str], folder: Path, now: UnixMs
) -> list[Node]:
    where: dict[NodeId, BenchLinks] = {}
    return [_make_one(suite, names, name, folder, now, where) for name in names]


def _make_one(
    suite: SuiteWithKeys,
    names: list[str],
    name: str,
    folder: Path,
    now: UnixMs,
    where: dict[NodeId, BenchLinks],
) -> Node:
    who = member(suite, name, at=now)
    roster = Roster(founders(suite, names))
    court = Court(who.node, roster, suite, lambda _proof: None)

    def on_event(event: LinkEvent) -> None:
        match event:
            case Frame(peer, data):
                node.driver.receive(peer, data)
            case LinkUp(chain):
                node.driver.handle(events.LinkUp(chain))
            case LinkDown(peer):
                node.driver.handle(events.LinkDown(peer))

    def hear(entry: Entry) -> None:
        node.hear(entry)
        court.hear(entry, CLOCK.unix_ms())

    async def room(peer: NodeId) -> None:
        await node.driver.room(peer)

    links = Links(
        suite=suite,
        signing_key=who.key,
        chain=who.chain,
        roster=roster,
        cluster=roster.cluster,
        listen=[("127.0.0.1", 0)],
        on_event=on_event,
        now_ms=CLOCK.unix_ms,
        room=room,
        hosts=["127.0.0.1"],
    )
    where[who.node] = bench_links = BenchLinks(links, where)
    driver = Driver(
        engine=Engine(who.node, roster, suite),
        store=Store(folder / f"{name}.sqlite"),
        links=bench_links,
        clock=CLOCK,
        log=Log("error"),
        metrics=Metrics(),
        on_entry=hear,
        keys={who.chain.key: who.key},
    )
    # In one process nodes would share what one of them read.
    driver.engine._intake.reader = read_once()
    node = Node(who, bench_links, driver)
    return node


def report(chance: random.Random) -> Report:
    now = CLOCK.unix_ms()
    subject = Subject(SubjectKind.AGENT, chance.randbytes(32))
    seen = Witness(digest=chance.randbytes(32), count=1, first_ms=now, last_ms=now)
    return Report(subject=subject, category="bench", severity=1, evidence=seen)


@attrs.define
class Meter:
    """CPU, time and what was counted between two moments."""

    nodes: list[Node]
    cpu_s: float = 0.0
    wall_s: float = 0.0
    heard: int = 0
    known: float = 0.0
    sent_bytes: float = 0.0

    async def during(self, work: Callable[[], Awaitable[None]]) -> "Meter":
        before = self._counts()
        wall, cpu = perf_counter(), process_time()
        await work()
        self.cpu_s, self.wall_s = process_time() - cpu, perf_counter() - wall
        after = self._counts()
        self.heard, self.known, self.sent_bytes = (
            int(after[0] - before[0]),
            after[1] - before[1],
            after[2] - before[2],
        )
        return self

    def _counts(self) -> tuple[float, float, float]:
        """Reports heard, batches that were known already, bytes sent."""
        found = [0.0, 0.0, 0.0]
        for node in self.nodes:
            metrics = node.driver.metrics
            found[0] += node.heard
            found[1] += metrics.batches.labels("known")._value.get()
            found[2] += metrics.sent_bytes._value.get()
        return found[0], found[1], found[2]


async def run(
    suite: SuiteWithKeys, folder: Path, count: int, reports: int, rate: float
) -> dict[str, object]:
    nodes = make(suite, [f"node-{i:02}" for i in range(count)], folder, CLOCK.unix_ms())
    chance = random.Random(1)
    idle, busy = Meter(nodes), Meter(nodes)

    async def speak(number: int) -> None:
        target = nodes[0].heard + number
        for _ in range(number):
            chance.choice(nodes).driver.report(report(chance))
            await trio.sleep(chance.expovariate(rate))
        with trio.move_on_after(DRAIN_S):
            await until(lambda: all(node.heard >= target for node in nodes))

    async with trio.open_nursery() as nursery:
        try:
            for node in nodes:
                nursery.start_soon(node.driver.store.run)
                nursery.start_soon(node.driver.run)
                await nursery.start(node.links.links.run)
            for node in nodes:
                incarnation = Incarnation(suite.random(INCARNATION_BYTES))
                node.driver.handle(events.Opened(incarnation, node.who.chain))
            with trio.fail_after(PATIENCE_S):
                await until(lambda: all(knows_all(node, count) for node in nodes))
            await speak(2 * count)  # The tree grows.
            collect_rarely()
            await idle.during(rest)
            await busy.during(lambda: speak(reports))
        finally:
            nursery.cancel_scope.cancel()
            for node in nodes:  # else their threads go on for ever, and so do we
                node.driver.store.stop()
    received = reports * (count - 1)
    idle_s = idle.cpu_s / idle.wall_s * busy.wall_s
    return {
        "delivered": round(busy.heard / (reports * count), 6),
        "cpu_ms_per_delivery": round(1_000 * busy.cpu_s / busy.heard, 3),
        "of_that_idle_links": round(1_000 * idle_s / busy.heard, 3),
        "duplicates_per_node_and_report": round(busy.known / received, 3),
        "bytes_sent_per_delivery": round(busy.sent_bytes / busy.heard),
        "cpu_of_a_core": round(busy.cpu_s / busy.wall_s, 3),
        "bare_verify_ms_now": round(bare_verify_ms(suite, nodes[0].who), 3),
        "load": round(os.getloadavg()[0], 1),
    }


def knows_all(node: Node, count: int) -> bool:
    """Whether every member's keys arrived: its first batch did."""
    return len(node.driver.engine.ledger.heads()) >= count


def bare_verify_ms(suite: SuiteWithKeys, who: Member) -> float:
    """CPU of one signature in this run: a busy machine makes everything dearer."""
    signature = who.key.sign(bytes(300), Domain.BATCH)
    began = process_time()
    for _ in range(VERIFIES):
        suite.verify(who.chain.operational, bytes(300), signature, Domain.BATCH)
    return 1_000 * (process_time() - began) / VERIFIES


async def rest() -> None:
    """Say nothing for a while."""
    await trio.sleep(IDLE_S)


async def until(truth: Callable[[], bool]) -> None:
    while not truth():  # noqa: ASYNC110 - a bench cannot be told
        await trio.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=32)
    parser.add_argument("--reports", type=int, default=400)
    parser.add_argument("--rate", type=float, default=20.0, help="reports a second")
    parser.add_argument("--provider", nargs="+", default=["openssl", "liboqs"])
    options = parser.parse_args()
    for provider in options.provider:
        line: dict[str, object] = {
            "bench": "cpu",
            "provider": provider,
            "nodes": options.nodes,
        }
        try:
            suite = load_suite(provider)
        except UserError as wrong:
            line["skipped"] = str(wrong)
        else:
            with tempfile.TemporaryDirectory() as folder:
                line |= trio.run(
                    run,
                    suite,
                    Path(folder),
                    options.nodes,
                    options.reports,
                    options.rate,
                )
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
