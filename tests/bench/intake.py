"""What one node takes in: verified, stored, judged reports a second; JSON.

Run as ``python -m tests.bench.intake``. The daemon's own driver, engine, court
and store (a real disk), until the last report is durable. Only the links are fed by
hand, in the same event loop: who feeds looks every few milliseconds whether there is
room for the next frames, which were signed before. For each provider of the suite,
with 64 reports to a signature and with one; beside it the provider's bare verify
rate, and how late the event loop was meanwhile. What takes too long is ended with a
line that says where everything stood.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import trio

from enforcement.decide.court import Court
from gossip.domains import Domain
from gossip.engine import Engine
from gossip.errors import UserError
from gossip.ledger.batch import draft_batch, read_batch_untrusted
from gossip.ledger.entries import (
    Entry,
    EntryKind,
    Keys,
    Report,
    Subject,
    SubjectKind,
    Witness,
    write_keys,
    write_report,
)
from gossip.membership.roster import Roster
from gossip.spread import frames
from gossip.suite import Claim
from gossip.units import Incarnation, NodeId, UnixMs
from node.clock import SystemClock
from node.driver import Driver
from node.garbage import collect_rarely
from node.keys.suites.registry import SuiteWithKeys, load_suite
from node.log import Log
from node.metrics import Metrics
from node.store import Store
from tests.support.members import Member, founders, member

AUTHORS = 32
SUBJECTS = 2_000
LAG_EVERY_S = 0.002
LOOK_EVERY_S = 0.003
FED_MAX = 256
"""Frames that may wait to be taken in: enough for the time between two looks."""
PATIENCE_S = 120.0
BATCH_EVERY_MS = 50


class NoLinks:
    """Nobody to pass anything on to."""

    def __init__(self) -> None:
        self.dropped = 0

    def send(self, peer: NodeId, frame: bytes) -> bool:
        return True

    def drop(self, peer: NodeId) -> None:
        self.dropped += 1

    def seek(self, peers: frozenset[NodeId]) -> None:
        """Nobody."""


def body(number: int, now: int) -> bytes:
    return write_report(
        Report(
            subject=Subject(SubjectKind.AGENT, (number % SUBJECTS).to_bytes(32, "big")),
            category="bench",
            severity=3,
            evidence=Witness(
                digest=bytes(32), count=1, first_ms=UnixMs(now), last_ms=UnixMs(now)
            ),
        )
    )


def write_feed(
    roster: Roster, author: Member, batches: int, each: int, now: int
) -> list[bytes]:
    """One author's frames, signed for real; the last of them written at ``now``."""
    written: list[bytes] = []
    previous = bytes(32)
    for number in range(batches):
        said = [
            (int(EntryKind.REPORT), body(number * each + i, now)) for i in range(each)
        ]
        if number == 0:
            keys = write_keys(Keys(chain=author.chain.encoded, closes=None))
            said = [(int(EntryKind.KEYS), keys), *said[:63]]
        draft = draft_batch(
            cluster=roster.cluster,
            author=author.node,
            incarnation=Incarnation(bytes(16)),
            number=number,
            previous=previous,
            issued_at_ms=UnixMs(now - (batches - number) * BATCH_EVERY_MS),
            key=author.chain.key,
            entries=said,
        )
        signature = author.key.sign(draft.header, Domain.BATCH)
        encoded = draft.join(signature)
        previous = read_batch_untrusted(encoded).id
        written.append(frames.push(encoded))
    return written


async def take_in(
    suite: SuiteWithKeys, folder: Path, reports: int, each: int
) -> dict[str, object]:
    clock = SystemClock()
    now = clock.unix_ms()
    names = [f"node-{i:02}" for i in range(AUTHORS + 1)]
    roster = Roster(founders(suite, names))
    me, *authors = (member(suite, name, at=now) for name in names)
    batches = max(1, reports // each // AUTHORS)
    feeds = [
        write_feed(roster, a, batches, each, now + i) for i, a in enumerate(authors)
    ]
    arriving = [frame for turn in zip(*feeds, strict=True) for frame in turn]
    court = Court(me.node, roster, suite, lambda _proof: None)
    heard = 0

    def hear(entry: Entry) -> None:
        nonlocal heard
        heard += entry.kind == EntryKind.REPORT
        court.hear(entry, clock.unix_ms())

    links = NoLinks()
    store = Store(folder / f"{suite.provider}-{each}.sqlite")
    driver = Driver(
        engine=Engine(me.node, roster, suite),
        store=store,
        links=links,
        clock=clock,
        log=Log("error"),
        metrics=Metrics(),
        on_entry=hear,
    )
    written = trio.Event()

    async def write_until_told() -> None:
        await store.run()
        written.set()

    expected = sum(len(feed) for feed in feeds) * each - (AUTHORS if each == 64 else 0)
    peer = authors[0].node
    lags: list[float] = []
    seconds = 0.0
    collect_rarely()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_until_told)
        nursery.start_soon(driver.run)
        nursery.start_soon(measure_lag, lags)
        await trio.sleep(0.1)
        lags.clear()
        began = perf_counter()
        try:
            with trio.move_on_after(PATIENCE_S) as patience:
                for frame in arriving:
                    driver.receive(peer, frame)
                    if driver.waiting_frames >= FED_MAX:
                        await until(lambda: driver.waiting_frames < FED_MAX // 2)
                await until(lambda: heard >= expected)
                # The last of it would wait for company, which nobody waits for; here
                # we do.
                store.stop()
                await written.wait()
                seconds = perf_counter() - began
        finally:
            store.stop()  # else its thread goes on for ever, and so do we
        nursery.cancel_scope.cancel()
    if patience.cancelled_caught or links.dropped:
        raise SystemExit(f"heard {heard} of {expected} reports; {where(driver, links)}")
    return {
        "reports": heard,
        "reports_per_s": round(heard / seconds),
        "signatures_per_s": round(len(arriving) / seconds),
        "bare_verify_per_s": bare_verify(suite, arriving[-200:], authors),
        "lag_p99_ms": round(quantiles(lags, n=100)[98] * 1_000, 2),
    }


def where(driver: Driver, links: NoLinks) -> str:
    """Where everything stood when it took too long, or a valid frame was refused."""
    fates = {fact.value: count._value.get() for fact, count in driver._fates.items()}
    intake, verifier = driver.engine._intake, driver._verifier
    return (
        f"frames waiting: {driver.waiting_frames}; links dropped: {links.dropped}; "
        f"asked to verify: {len(intake._verifying)}, not cut: {verifier.claims_waiting}"
        f", not answered: {len(verifier._unanswered)}; delayed: {len(intake._delayed)}; "
        f"parked: {len(intake._parked)}; writes waiting: {driver.store.waiting}; "
        f"what became of batches: {fates}"
    )


async def until(truth: Callable[[], bool]) -> None:
    while not truth():  # noqa: ASYNC110 - a bench cannot be told
        await trio.sleep(LOOK_EVERY_S)


async def measure_lag(lags: list[float]) -> None:
    while True:
        due = perf_counter() + LAG_EVERY_S
        await trio.sleep(LAG_EVERY_S)
        lags.append(max(0.0, perf_counter() - due))


def bare_verify(
    suite: SuiteWithKeys, arriving: list[bytes], authors: list[Member]
) -> int:
    """Composite signatures a second, on one core, nothing else done."""
    keys = {author.node: author.chain.operational for author in authors}
    claims = []
    for frame in arriving:
        read = frames.read_frame_untrusted(frame)
        assert isinstance(read, frames.Push)
        batch = read_batch_untrusted(read.batch)
        claims.append(
            Claim(keys[batch.author], batch.header, batch.signature, Domain.BATCH)
        )
    rates = []
    for _ in range(5):
        began = perf_counter()
        assert all(suite.verify_many(claims))
        rates.append(len(claims) / (perf_counter() - began))
    return round(median(rates))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=40_000)
    options = parser.parse_args()
    for provider in ("openssl", "liboqs"):
        try:
            suite = load_suite(provider)
        except UserError as wrong:
            sys.stdout.write(json.dumps({"provider": provider, "skipped": str(wrong)}))
            continue
        for each in (64, 1):
            count = options.reports if each == 64 else options.reports // 2
            with tempfile.TemporaryDirectory() as folder:
                found = trio.run(take_in, suite, Path(folder), count, each)
            line = {"bench": "intake", "provider": provider, "per_signature": each}
            sys.stdout.write(json.dumps(line | found) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
