"""How soon a report is at all nodes: real daemons beside Serf, in one run; JSON.

Run as ``python -m tests.bench.spread [--nodes 16] [--reports 40]``. Daemons are
processes on loopback. A report goes in at one daemon's control socket; each
daemon's watchers tell when it was admitted there. Serf is measured the same
way, from RPC to RPC stream, by the script that ``SERF_BENCH`` names (by default
the one beside the checkout, where there is one). Its events carry as many bytes
as our report's entry; ours also carries a 3.4 KB signature.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import attrs
import trio

from tests.support.daemons import Cluster, Daemon, cluster, until

SERF = Path(os.environ.get("SERF_BENCH", "../shared/serf_bench.py"))
DRAIN_S = 10.0
SUBJECT_BYTES = 32
LINKS_ENOUGH = 4
"""Large clusters do not link everybody with everybody."""
START_S = 60.0


@attrs.define
class Stopwatch:
    """When each report was sent, and when each node told of it."""

    sent: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    seen: dict[str, dict[str, float]] = attrs.field(factory=dict)

    news: trio.Event = attrs.field(factory=trio.Event)

    def tell(self, subject: str, node: str, at: float) -> None:
        if subject in self.sent:
            self.seen.setdefault(subject, {}).setdefault(node, at)
            self.news.set()

    async def complete(self, nodes: int) -> None:
        while any(len(self.seen.get(s, ())) < nodes for s in self.sent):
            self.news = trio.Event()
            await self.news.wait()

    def to_all_ms(self, nodes: int) -> list[float]:
        """For each report that reached everybody, the time to the last node."""
        return [
            1_000 * (max(at for n, at in self.seen[s].items() if n != origin) - begin)
            for s, (origin, begin) in self.sent.items()
            if len(self.seen.get(s, ())) == nodes
        ]


async def watch(node: Daemon, stopwatch: Stopwatch, ready: trio.Event) -> None:
    stream = await trio.open_unix_socket(str(node.home / "control.sock"))
    await stream.send_all(b'{"v":1,"id":1,"do":"watch","args":{}}\n')
    rest = b""
    async for data in stream:
        now = time.perf_counter()
        ready.set()
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            told = json.loads(line).get("ok", {})
            if told.get("event") == "report":
                stopwatch.tell(told["subject"], node.name, now)


async def report(node: Daemon, subject: str) -> None:
    async with await trio.open_unix_socket(str(node.home / "control.sock")) as stream:
        args = {"subject": subject, "category": "bench", "severity": 1}
        line = {"v": 1, "id": 1, "do": "report", "args": args}
        await stream.send_all(json.dumps(line).encode() + b"\n")
        await stream.receive_some(65_536)


async def measure(town: Cluster, count: int, rate: float, seed: int) -> Stopwatch:
    chance, stopwatch = random.Random(seed), Stopwatch()
    async with trio.open_nursery() as nursery:
        for node in town.nodes:
            ready = trio.Event()
            nursery.start_soon(watch, node, stopwatch, ready)
            await ready.wait()
        for warm in (True, False):
            if not warm:
                stopwatch.sent.clear()
                stopwatch.seen.clear()
            for _ in range(20 if warm else count):
                node = chance.choice(town.nodes)
                subject = f"agent:{chance.randbytes(SUBJECT_BYTES).hex()}"
                stopwatch.sent[subject] = (node.name, time.perf_counter())
                await report(node, subject)
                await trio.sleep(0.1 if warm else chance.expovariate(rate))
            with trio.move_on_after(DRAIN_S):
                await stopwatch.complete(len(town.nodes))
        nursery.cancel_scope.cancel()
    return stopwatch


def summary(values: list[float]) -> dict[str, float]:
    cuts = quantiles(values, n=100, method="inclusive")
    return {"p50": round(median(values), 2), "p99": round(cuts[98], 2)}


def measure_picket(nodes: int, count: int, rate: float, seed: int) -> dict[str, object]:
    names = [f"node-{i:02}" for i in range(nodes)]
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), names) as town:
        start(town)
        before = cpu_s(town)
        began = time.perf_counter()
        stopwatch = trio.run(measure, town, count, rate, seed)
        busy = (cpu_s(town) - before) / (time.perf_counter() - began) / nodes
        reached = sum(len(seen) for seen in stopwatch.seen.values())
        return {
            "ms_to_all": summary(stopwatch.to_all_ms(nodes)),
            "delivered": reached / (count * nodes),
            "cpu_of_a_core_per_node": round(busy, 4),
            "load": round(os.getloadavg()[0], 1),
            "rss_mb_per_node": round(median(rss_mb(n) for n in town.nodes), 1),
        }


def start(town: Cluster) -> None:
    """One after the other: imports of many at once take longer than anybody waits."""
    for node in town.nodes:
        node.start()
        node.wait_ready()
    enough = min(LINKS_ENOUGH, len(town.nodes) - 1)
    for node in town.nodes:
        until(lambda node=node: node.linked() >= enough, START_S)  # type: ignore[misc]  # mypy cannot infer a lambda's default


def cpu_s(town: Cluster) -> float:
    ticks = 0
    for node in town.nodes:
        assert node.process is not None
        fields = Path(f"/proc/{node.process.pid}/stat").read_text().rpartition(")")[2]
        ticks += sum(int(field) for field in fields.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def rss_mb(node: Daemon) -> float:
    assert node.process is not None
    pages = int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_serf(nodes: int, count: int, rate: float, seed: int) -> dict[str, object]:
    words = ["--nodes", nodes, "--events", count, "--rate", rate, "--seed", seed]
    words += ["--size", 300, "--idle", 1, "--netns"]
    done = subprocess.run(
        [sys.executable, str(SERF), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        return {"skipped": done.stderr.strip().splitlines()[-1]}
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--reports", type=int, default=60)
    parser.add_argument("--rate", type=float, default=2.0, help="reports a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rest = (options.reports, options.rate, options.seed)
    for nodes in options.nodes:
        result: dict[str, object] = {"bench": "spread", "nodes": nodes}
        result["picket"] = ours = measure_picket(nodes, *rest)
        if SERF.exists():
            result["serf"] = theirs = measure_serf(nodes, *rest)
            result |= ratios(ours, theirs)
        else:
            result["serf"] = {"skipped": f"no {SERF.name}; name it in SERF_BENCH"}
        sys.stdout.write(json.dumps(result) + "\n")


def ratios(ours: dict[str, object], theirs: dict[str, object]) -> dict[str, object]:
    mine, serfs = ours["ms_to_all"], theirs.get("latency_all_nodes")
    if not isinstance(mine, dict) or not isinstance(serfs, dict):
        return {}
    return {
        f"ratio_{cut}": round(value / mine[cut], 1)
        for cut in ("p50", "p99")
        if isinstance(value := serfs.get(f"{cut}_ms", serfs.get(cut)), int | float)
    }


if __name__ == "__main__":
    main()
