"""Measures what daemons cost on this machine: ``python -m scenarios.calibrate``.

A few daemons as processes on loopback. Quiet reports give the way from daemon to
daemon; a steady load gives the processor's time for each delivery; the daemons'
own metrics give signatures and commits. What comes out is a file that
``picket sim run --calibration`` reckons by.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Final

import attrs
import trio

from gossip.domains import Domain
from gossip.errors import UserError
from gossip.suite import Claim
from scenarios.borrowed import find_suite
from scenarios.calibration import Calibration, write_calibration
from scenarios.demo.control import NoAnswer
from scenarios.demo.processes import Failed, first_sentence
from scenarios.people import person
from scenarios.real.ending import ending_in_order, passing_folder, until_sigterm
from scenarios.real.nodes import Node, bear, start_all
from scenarios.real.seen import Seen
from scenarios.real.wires import on_loopback
from scenarios.script import Cluster, Costs, Delay

NODES: Final = 5
QUIET: Final = 60
QUIET_EVERY_S: Final = 0.25
BUSY: Final = 300
BUSY_PER_S: Final = 40.0
IDLE_S: Final = 3.0
BURST: Final = 128
DRAIN_S: Final = 15.0
FRAME_US: Final = 60
"""What any frame costs, roughly; the rest of a delivery is its batch's."""
VERIFIES: Final = 200
INTERRUPTED: Final = 130
_SUMS: Final = ("picket_sign_seconds", "picket_store_commit_seconds")


@attrs.frozen(kw_only=True)
class Measured:
    """What was measured, in microseconds unless it says otherwise.

    Attributes:
        say_us: From a request on the control socket to the report being durable.
        hop_us: From durable at its author to held by another, each pair.
        to_all_us: From the request to held by the last, each report.
        delivery_us: The processors' time for one report at one daemon, all told.
        coalescing: Reports that shared one signature, in a burst.
    """

    say_us: Sequence[float]
    hop_us: Sequence[float]
    to_all_us: Sequence[float]
    delivery_us: float
    verify_us: float
    sign_us: float
    commit_us: float
    coalescing: float


def calibration_of(found: Measured, processors: int) -> Calibration:
    """What the simulator makes of it.

    A frame is held once it was handled, so what handling costs is taken off the
    way it was seen to take; and the disk's part of saying is what signing is not.
    """
    batch_us = max(0, round(found.delivery_us) - FRAME_US)
    ways = [max(1.0, way - found.delivery_us) / 1_000 for way in found.hop_us]
    least = round(quantiles(ways, n=20)[0], 3)
    return Calibration(
        hop=Delay(min_ms=least, mean_ms=max(least, round(median(ways), 3))),
        costs=Costs(
            frame_us=FRAME_US,
            batch_us=batch_us,
            sign_us=round(found.sign_us),
            disk_us=max(0, round(median(found.say_us) - found.sign_us)),
            processors=processors,
        ),
    )


async def measure(folder: Path, count: int) -> Measured:
    """Make a cluster in ``folder``, measure it, end it.

    Raises:
        Failed: it does not start, or loses what is said.
    """
    wires = on_loopback(count)
    names = [f"honest-{i}" for i in range(count)]
    nodes = [
        Node(
            number=i, name=name, role="honest", home=folder / name, wire=wires.nodes[i]
        )
        for i, name in enumerate(names)
    ]
    try:
        await bear(folder, nodes, Cluster(), "")
        await start_all(nodes, None)
        async with trio.open_nursery() as nursery:
            seen = Seen(nodes, set(names))
            for node in nodes:
                nursery.start_soon(seen.follow, node)
            found = await _measure(nodes, seen)
            nursery.cancel_scope.cancel()
        return found
    finally:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for node in nodes:
                    nursery.start_soon(node.stop)


async def _measure(nodes: Sequence[Node], seen: Seen) -> Measured:
    chance = random.Random(1)  # noqa: S311 - repeats
    await _say(nodes, seen, chance, count=2 * len(nodes), pause_s=0.1)  # the tree grows
    before = await _sums(nodes)
    quiet = await _say(nodes, seen, chance, count=QUIET, pause_s=QUIET_EVERY_S)
    after = await _sums(nodes)
    idle_us, began = _cpu_us(nodes), trio.current_time()
    await trio.sleep(IDLE_S)
    idle_share = (_cpu_us(nodes) - idle_us) / (trio.current_time() - began)
    busy_us, began = _cpu_us(nodes), trio.current_time()
    await _say(nodes, seen, chance, count=BUSY, pause_s=1 / BUSY_PER_S)
    spent_us = _cpu_us(nodes) - busy_us - idle_share * (trio.current_time() - began)
    ways = [seen.way_us(key) for key in quiet]
    return Measured(
        say_us=[say for say, _ in ways],
        hop_us=[hop for _, hops in ways for hop in hops],
        to_all_us=[say + max(hops) for say, hops in ways],
        delivery_us=spent_us / (BUSY * len(nodes)),
        verify_us=verify_us("auto"),
        sign_us=_mean_us(before, after, "picket_sign_seconds"),
        commit_us=_mean_us(before, after, "picket_store_commit_seconds"),
        coalescing=await _coalescing(nodes, seen),
    )


async def _say(
    nodes: Sequence[Node],
    seen: Seen,
    chance: random.Random,
    *,
    count: int,
    pause_s: float,
) -> list[str]:
    """Let nodes report in turn; returns the entries' ids once all hold them."""
    known = seen.everywhere(len(nodes))
    for _ in range(count):
        node = chance.choice(nodes)
        subject = f"agent:{chance.randbytes(32).hex()}"
        seen.said(node, subject)
        await node.ask("report", subject=subject, category="calibration", severity=1)
        await trio.sleep(chance.expovariate(1 / pause_s))
    with trio.move_on_after(DRAIN_S):
        while len(fresh := seen.everywhere(len(nodes)) - known) < count:  # noqa: ASYNC110 - polled
            await trio.sleep(0.02)
        return sorted(fresh)
    raise Failed(f"not everybody heard everything within {DRAIN_S:.0f} s")


async def _coalescing(nodes: Sequence[Node], seen: Seen) -> float:
    """How many reports share a signature when one node says many at once."""
    node, known = nodes[0], seen.everywhere(len(nodes))
    batches = len(node.held())
    async with trio.open_nursery() as nursery:
        for i in range(BURST):
            subject = f"agent:{i:064x}"
            nursery.start_soon(_ask, node, subject)
            if i % 32 == 31:
                await trio.sleep(0.01)
    with trio.move_on_after(DRAIN_S):
        while len(seen.everywhere(len(nodes)) - known) < BURST:  # noqa: ASYNC110 - polled
            await trio.sleep(0.02)
    return BURST / max(1, len(node.held()) - batches)


async def _ask(node: Node, subject: str) -> None:
    await node.ask("report", subject=subject, category="calibration", severity=1)


async def _sums(nodes: Sequence[Node]) -> dict[str, float]:
    found: dict[str, float] = {}
    for node in nodes:
        metrics = await node.metrics()
        for name in _SUMS:
            for part in (f"{name}_sum", f"{name}_count"):
                found[part] = found.get(part, 0.0) + metrics.get(part, 0.0)
    return found


def _mean_us(
    before: Mapping[str, float], after: Mapping[str, float], name: str
) -> float:
    count = after[f"{name}_count"] - before[f"{name}_count"]
    return 1e6 * (after[f"{name}_sum"] - before[f"{name}_sum"]) / max(1.0, count)


def _cpu_us(nodes: Sequence[Node]) -> float:
    """What all daemons have had of the processors."""
    total_ns = 0
    for node in nodes:
        assert node.process is not None
        for thread in Path(f"/proc/{node.process.pid}/task").iterdir():
            total_ns += int((thread / "schedstat").read_text().split()[0])
    return total_ns / 1_000


def verify_us(provider: str) -> float:
    """One composite verification; ``auto`` is the provider that a daemon would take."""
    suite = find_suite(provider, 1)
    who = person(suite, "someone")
    message = bytes(300)
    claim = Claim(
        who.chain.operational,
        message,
        who.key.sign(message, Domain.BATCH),
        Domain.BATCH,
    )
    began = time.process_time()
    for _ in range(VERIFIES):
        suite.verify_many([claim])
    return 1e6 * (time.process_time() - began) / VERIFIES


def told(found: Measured, nodes: int) -> dict[str, object]:
    """The figures for people."""
    cuts = quantiles(found.hop_us, n=100, method="inclusive")
    return {
        "nodes": nodes,
        "load_before": round(os.getloadavg()[0], 1),
        "say_ms_p50": round(median(found.say_us) / 1_000, 3),
        "to_all_ms_p50": round(median(found.to_all_us) / 1_000, 3),
        "hop_ms_min": round(min(found.hop_us) / 1_000, 3),
        "hop_ms_p50": round(median(found.hop_us) / 1_000, 3),
        "hop_ms_mean": round(fmean(found.hop_us) / 1_000, 3),
        "hop_ms_p99": round(cuts[98] / 1_000, 3),
        "delivery_us": round(found.delivery_us),
        "verify_us": round(found.verify_us),
        "sign_us": round(found.sign_us),
        "store_commit_us": round(found.commit_us),
        "reports_per_signature_in_a_burst": round(found.coalescing, 1),
    }


def calibrate(count: int) -> tuple[Calibration, Measured]:
    """Measure with ``count`` daemons.

    Raises:
        UserError: they do not start, or lose something.
        KeyboardInterrupt: Ctrl-C, or SIGTERM.
    """
    ended: BaseException
    with ending_in_order(), passing_folder("picket-cal-") as folder:
        try:
            found = trio.run(until_sigterm, partial(measure, folder, count))
            return calibration_of(found, len(os.sched_getaffinity(0))), found
        except* (Failed, NoAnswer) as failed:
            ended = UserError(f"calibration: {first_sentence(failed)}")
        except* KeyboardInterrupt:
            ended = KeyboardInterrupt()
    raise ended from None


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="make calibrate", description=__doc__)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--out", default="calibration.toml")
    options = parser.parse_args()
    try:
        made, found = calibrate(options.nodes)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    text = write_calibration(made, told(found, options.nodes))
    Path(options.out).write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
