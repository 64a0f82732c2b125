"""From an attacker's first hostile request to refusal by all others; JSON.

Run as ``python -m tests.bench.quarantine [--nodes 16] [--attacks 12]``. Real
daemons on loopback, one of them compromised (`scenarios.demo.rogue`): its egress
signs what policy forbids. An agent beside it makes one hostile call; each other
daemon's watchers tell when its gates began to deny the node, and when they were
handed the entry that decided it. Operators then let everybody go, and the attack is
repeated. All is by the wall: what a daemon takes from entry to refusal, while others
want the same cores, is more than it computes (`decide.py`). So beside it stands what
all daemons computed until the last refused, and how long each one's own thread could
have run and had to wait for a core, as the kernel counts it. Needs `make servers`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Protocol

import attrs
import trio
from mcp import MCPError

from tests.support.callers import SERVER, endpoint, provide, query, session
from tests.support.daemons import Cluster, Daemon, cluster, picket

if TYPE_CHECKING:
    from trio_typing import TaskStatus

P50_MS_MAX, P99_MS_MAX, HELD_MS_MAX = 50.0, 250.0, 10.0
STEAL = "INSERT INTO financial_ledger VALUES (1)"
READ = "SELECT name FROM customers"
PATIENCE_S = 60.0


@attrs.define
class Ear:
    """What one node tells of the attacker: by event, when it got there (Unix µs)."""

    node: Daemon
    about: str
    told: dict[str, int] = attrs.field(factory=dict)
    news: trio.Event = attrs.field(factory=trio.Event)

    async def listen(
        self, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        stream = await trio.open_unix_socket(str(self.node.home / "control.sock"))
        async with stream:
            await stream.send_all(b'{"v":1,"id":1,"do":"watch","args":{}}\n')
            rest = b""
            async for data in stream:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._take(json.loads(line).get("ok", {}))
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED

    def _take(self, line: dict[str, object]) -> None:
        event = str(line.get("event"))
        if line.get("subject") == self.about:
            self.told[event] = int(str(line["at_us"]))
            self.news.set()

    async def wait(self, event: str) -> int:
        with trio.fail_after(PATIENCE_S):
            while event not in self.told:
                self.news = trio.Event()
                await self.news.wait()
        return self.told[event]


class Hand(Protocol):
    """Calls a tool with a query; whether it passed."""

    async def __call__(self, tool: str, text: str, /) -> bool: ...


@asynccontextmanager
async def agent(node: Daemon, token: str) -> AsyncIterator[Hand]:
    async with session(endpoint(node), token) as opened:

        async def call(tool: str, text: str) -> bool:
            try:
                await opened.call_tool(tool, {"query": text})
            except MCPError:
                return False
            return True

        yield call


@attrs.frozen
class Found:
    """Of one attack, in milliseconds: until the first and the last node refused, and
    what each took from the deciding entry to its refusal; what all daemons computed
    meanwhile, and what each waited for a core."""

    first: float
    last: float
    held: tuple[float, ...]
    computed: float
    waited: tuple[float, ...]


def spent(node: Daemon) -> tuple[float, float]:
    """Milliseconds that a daemon computed so far, and that its loop waited for a core."""
    assert node.process is not None
    tasks = Path(f"/proc/{node.process.pid}/task")
    computed = sum(
        int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()
    )
    own = (tasks / str(node.process.pid) / "schedstat").read_text().split()
    return computed / 1e6, int(own[1]) / 1e6


async def attack(rogue: Daemon, token: str, ears: list[Ear]) -> Found:
    with trio.fail_after(PATIENCE_S):  # until the links are there again
        while True:
            answer = await query(endpoint(rogue), token, "read_query", READ)
            if "a customer" in answer:
                break
            await trio.sleep(0.1)
    async with agent(rogue, token) as call:
        assert await call("read_query", READ), "an honest call was denied"
        for ear in ears:
            ear.told.clear()
        nodes = [rogue, *(ear.node for ear in ears)]
        before = [spent(node) for node in nodes]
        began_us = time.time_ns() // 1_000
        passed = await call("write_query", STEAL)
        assert not passed, "the hostile call passed"
        denied = [await ear.wait("deny") for ear in ears]
        after = [spent(node) for node in nodes]
        held = [
            (ear.told["deny"] - ear.told["report"]) / 1_000
            for ear in ears
            if "report" in ear.told
        ]
    return Found(
        first=(min(denied) - began_us) / 1_000,
        last=(max(denied) - began_us) / 1_000,
        held=tuple(held),
        computed=sum(a[0] - b[0] for a, b in zip(after, before, strict=True)),
        waited=tuple(a[1] - b[1] for a, b in zip(after, before, strict=True)),
    )


async def let_go(town: Cluster, carrier: Daemon, ears: list[Ear]) -> None:
    rows = carrier.ask("quarantine.list")
    assert isinstance(rows, list)
    for row in rows:
        assert isinstance(row, dict)
        words = ("quarantine", "release", str(row["subject"]), "--reason", "again")
        key = ("--operator-key", str(town.operator), "-c", str(carrier.home))
        await trio.to_thread.run_sync(picket, *words, *key)
    for ear in ears:
        await ear.wait("allow")


def start_rogue(node: Daemon) -> None:
    """The real daemon with one decision replaced."""
    with (node.home.parent / f"{node.name}.log").open("ab") as log:
        node.process = subprocess.Popen(
            [sys.executable, "-m", "scenarios.demo.rogue", str(node.home)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def wait_ready(node: Daemon) -> None:
    """As `Daemon.wait_ready`, with patience for many on few cores."""
    deadline = time.monotonic() + 2 * PATIENCE_S
    while True:
        try:
            return node.wait_ready()
        except AssertionError:
            if time.monotonic() > deadline:
                sys.stderr.write(f"{node.name}: {node.log}\n")
                raise


async def measure(town: Cluster, tokens: list[str]) -> list[Found]:
    rogue, ledger = town["rogue"], town["ledger"]
    status = rogue.ask("status")
    assert isinstance(status, dict)
    about = f"node:{status['node']}"
    found: list[Found] = []
    async with trio.open_nursery() as nursery:
        ears = [Ear(node, about) for node in town.nodes if node is not rogue]
        for ear in ears:
            await nursery.start(ear.listen)
        for token in tokens:
            found.append(await attack(rogue, token, ears))
            await let_go(town, ledger, ears)
        nursery.cancel_scope.cancel()
    return found


def run(nodes: int, attacks: int) -> list[Found]:
    names = ["ledger", "rogue", *(f"node-{i:02}" for i in range(nodes - 2))]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        grants = ["--grant", "retail", "--http", "127.0.0.1:0"]
        init = {"ledger": [*grants, "--server", "sql"], "rogue": grants}
        with cluster(home, names, init=init, extra={"ledger": provide(home)}) as town:
            # Another agent each time: who was denied again and again is not trusted.
            rest = ("--role", "retail", "-c", str(town["rogue"].home))
            tokens = [
                picket("agent", "add", f"bot-{i}", *rest).stdout.strip()
                for i in range(attacks)
            ]
            for node in town.nodes:
                if node.name == "rogue":
                    start_rogue(node)
                else:
                    node.start()
            for node in town.nodes:
                wait_ready(node)
            return trio.run(measure, town, tokens)


def main() -> int:
    """Measure, print, and fail if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--attacks", type=int, default=12)
    asked = parser.parse_args()
    if not SERVER.exists():
        sys.stderr.write("run `make servers` first\n")
        return 1
    found = run(asked.nodes, asked.attacks)
    took = [one.last for one in found]
    held = [ms for one in found for ms in one.held]
    result = {
        "bench": "quarantine",
        "nodes": asked.nodes,
        "attacks": asked.attacks,
        "p50_ms": round(median(took), 1),
        "p99_ms": round(_p99(took), 1),
        "first_p50_ms": round(median(one.first for one in found), 1),
        "refused_p50_ms": round(median(held), 2),
        "refused_p99_ms": round(_p99(held), 2),
        "refused_max_ms": round(max(held), 2),
        "computed_p50_ms": round(median(one.computed for one in found), 1),
        "waited_p50_ms": round(median(ms for one in found for ms in one.waited), 1),
        "load_before": os.getloadavg()[0],
        "bars_ms": [P50_MS_MAX, P99_MS_MAX, HELD_MS_MAX],
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    met = median(took) <= P50_MS_MAX and _p99(took) <= P99_MS_MAX
    return 0 if met and _p99(held) <= HELD_MS_MAX else 1


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


if __name__ == "__main__":
    sys.exit(main())
