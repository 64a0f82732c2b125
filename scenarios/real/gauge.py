"""Gauges real daemons: what a report takes to reach all, and what it costs on the way.

One look is short, so that looks at several clusters can take turns: what else the
machine does then falls upon all of them alike, and medians let it go.
"""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import attrs
import trio

from scenarios.demo.processes import Failed
from scenarios.real.nodes import Node, bear, start_all
from scenarios.real.seen import Seen
from scenarios.real.wires import on_loopback
from scenarios.script import Cluster

QUIET: Final = 20
QUIET_PER_S: Final = 4.0
BUSY: Final = 120
BUSY_PER_S: Final = 40.0
IDLE_S: Final = 2.0
BURST: Final = 128
DRAIN_S: Final = 15.0
_WARM_PER_S: Final = 10.0
_SUMS: Final = ("picket_sign_seconds", "picket_store_commit_seconds")


@attrs.frozen(kw_only=True)
class Measured:
    """What was measured, in microseconds unless it says otherwise.

    Attributes:
        say_us: From a request on the control socket to the report being durable.
        hop_us: From durable at its author to held by another, each pair.
        to_all_us: From the request to held by the last, each report.
        delivery_us: The processors' time for one report at one daemon, all told.
        loop_us: What of it is the event loop's; threads do the rest, later or beside.
        coalescing: Reports that shared one signature, in a burst.
    """

    say_us: Sequence[float]
    hop_us: Sequence[float]
    to_all_us: Sequence[float]
    delivery_us: float
    loop_us: float
    sign_us: float
    commit_us: float
    coalescing: float


def pooled(looks: Sequence[Measured]) -> Measured:
    """Several looks as one: all ways of all, and of the rest the medians."""
    return Measured(
        say_us=[us for look in looks for us in look.say_us],
        hop_us=[us for look in looks for us in look.hop_us],
        to_all_us=[us for look in looks for us in look.to_all_us],
        delivery_us=median(look.delivery_us for look in looks),
        loop_us=median(look.loop_us for look in looks),
        sign_us=median(look.sign_us for look in looks),
        commit_us=median(look.commit_us for look in looks),
        coalescing=median(look.coalescing for look in looks),
    )


@attrs.frozen
class _Spent:
    """Of the processors by all daemons, of it by their event loops, in how long."""

    all_us: float
    loops_us: float
    seconds: float


@attrs.frozen
class Town:
    """A cluster of daemons that say what they are told to, and are watched."""

    nodes: Sequence[Node]
    seen: Seen
    chance: random.Random

    async def look(self) -> Measured:
        """Measure once, about a quarter of a minute.

        Raises:
            Failed: something that was said got lost.
        """
        before = await self._sums()
        quiet = await self.say(QUIET, QUIET_PER_S)
        after = await self._sums()
        idle = await self._spent(partial(trio.sleep, IDLE_S))
        busy = await self._spent(partial(self.say, BUSY, BUSY_PER_S))
        share, deliveries = busy.seconds / idle.seconds, BUSY * len(self.nodes)
        ways = [self.seen.way_us(key) for key in quiet]
        return Measured(
            say_us=[say for say, _ in ways],
            hop_us=[hop for _, hops in ways for hop in hops],
            to_all_us=[say + max(hops) for say, hops in ways],
            delivery_us=(busy.all_us - share * idle.all_us) / deliveries,
            loop_us=(busy.loops_us - share * idle.loops_us) / deliveries,
            sign_us=_mean_us(before, after, "picket_sign_seconds"),
            commit_us=_mean_us(before, after, "picket_store_commit_seconds"),
            coalescing=await self._coalescing(),
        )

    async def to_all_ms(self, count: int, per_s: float) -> list[float]:
        """For each of so many reports: from the request to held by the last.

        Raises:
            Failed: one got lost.
        """
        keys = await self.say(count, per_s)
        ways = [self.seen.way_us(key) for key in keys]
        return [(say + max(hops)) / 1_000 for say, hops in ways]

    async def say(self, count: int, per_s: float) -> list[str]:
        """Let nodes report in turn; returns the entries' ids once all hold them.

        Raises:
            Failed: not everybody does.
        """
        known = self.seen.everywhere(len(self.nodes))
        for _ in range(count):
            node = self.chance.choice(self.nodes)
            await self._report(node, f"agent:{self.chance.randbytes(32).hex()}")
            await trio.sleep(self.chance.expovariate(per_s))
        return sorted(await self._new(known, count))

    async def _coalescing(self) -> float:
        """How many reports share a signature when one node says many at once."""
        node, known = self.nodes[0], self.seen.everywhere(len(self.nodes))
        batches = len(node.held())
        async with trio.open_nursery() as nursery:
            for i in range(BURST):
                subject = f"agent:{self.chance.randbytes(32).hex()}"
                nursery.start_soon(self._report, node, subject)
                if i % 32 == 31:
                    await trio.sleep(0.01)
        await self._new(known, BURST)
        return BURST / max(1, len(node.held()) - batches)

    async def _report(self, node: Node, subject: str) -> None:
        self.seen.said(node, subject)
        await node.ask("report", subject=subject, category="calibration", severity=1)

    async def _new(self, known: set[str], count: int) -> set[str]:
        """What all hold besides what they are known to, once it is so many."""
        with trio.move_on_after(DRAIN_S):
            while True:
                fresh = self.seen.everywhere(len(self.nodes)) - known
                if len(fresh) >= count:
                    return fresh
                await trio.sleep(0.02)
        raise Failed(f"not everybody heard everything within {DRAIN_S:.0f} s")

    async def _sums(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for node in self.nodes:
            metrics = await node.metrics()
            for name in _SUMS:
                for part in (f"{name}_sum", f"{name}_count"):
                    found[part] = found.get(part, 0.0) + metrics.get(part, 0.0)
        return found

    async def _spent(self, work: Callable[[], Awaitable[object]]) -> _Spent:
        """What all daemons have of the processors meanwhile."""
        before, began = self._cpu_us(), trio.current_time()
        await work()
        all_us, loops_us = (b - a for a, b in zip(before, self._cpu_us(), strict=True))
        return _Spent(all_us, loops_us, trio.current_time() - began)

    def _cpu_us(self) -> tuple[float, float]:
        """What all daemons have had of the processors, and their event loops alone."""
        all_ns = loops_ns = 0
        for node in self.nodes:
            assert node.process is not None
            pid = node.process.pid
            for thread in Path(f"/proc/{pid}/task").iterdir():
                spent_ns = int((thread / "schedstat").read_text().split()[0])
                all_ns += spent_ns
                loops_ns += spent_ns if thread.name == str(pid) else 0
        return all_ns / 1_000, loops_ns / 1_000


def _mean_us(
    before: Mapping[str, float], after: Mapping[str, float], name: str
) -> float:
    count = after[f"{name}_count"] - before[f"{name}_count"]
    return 1e6 * (after[f"{name}_sum"] - before[f"{name}_sum"]) / max(1.0, count)


@asynccontextmanager
async def town(folder: Path, count: int, net: int = 1) -> AsyncGenerator[Town, None]:
    """Make a cluster in ``folder``, on loopback, and end it.

    Clusters that run at the same time take a folder and a ``net`` each.

    Raises:
        Failed: it does not start.
    """
    wires = on_loopback(count, net)
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
            made = Town(nodes, Seen(nodes, set(names)), random.Random(1))  # noqa: S311 - repeats
            for node in nodes:
                nursery.start_soon(made.seen.follow, node)
            await made.say(2 * count, _WARM_PER_S)  # the tree grows
            yield made
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for node in nodes:
                    nursery.start_soon(node.stop)
