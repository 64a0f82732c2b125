"""How soon a daemon that was away holds what was said meanwhile, and at what cost; JSON.

Run as ``python -m tests.bench.catchup [--reports 20000]``. Four real daemons as
processes on loopback; one is stopped, the other three report as fast as their disks
acknowledge, then the fourth starts again. Bytes received are those of gossip, as its
metrics page counts them, over the bytes of the batches that it had missed.
"""

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import trio

from tests.support.daemons import Cluster, Daemon, cluster, free_ports, until

SPEAKERS = ["branch", "ledger", "vault"]
AWAY = "desk"
CONNECTIONS = 32
PATIENCE_S = 300.0


async def talk(node: Daemon, numbers: "list[int]") -> None:
    """Report until nothing is left to report, one after the other."""
    async with await trio.open_unix_socket(str(node.home / "control.sock")) as stream:
        while numbers:
            number = numbers.pop()
            args = {
                "subject": f"agent:{number % 2_000:064x}",
                "category": f"bench-{number}",
                "severity": 1,
            }
            line = {"v": 1, "id": 1, "do": "report", "args": args}
            await stream.send_all(json.dumps(line).encode() + b"\n")
            answer = await stream.receive_some(65_536)
            if b'"ok"' not in answer:
                raise AssertionError(answer)


async def talk_all(town: Cluster, reports: int) -> None:
    numbers = list(range(reports))
    async with trio.open_nursery() as nursery:
        for name in SPEAKERS:
            for _ in range(CONNECTIONS):
                nursery.start_soon(talk, town[name], numbers)


def heads(node: Daemon) -> int:
    status = node.ask("status")
    assert isinstance(status, dict)
    count = status["heads"]
    assert isinstance(count, int)
    return count


def stored(node: Daemon) -> tuple[int, int]:
    """Batches in its store, and their bytes."""
    path = next(node.home.rglob("picket.db"))
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        count, size = database.execute(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM batches"
        ).fetchone()
    return int(count), int(size)


def received_bytes(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    (line,) = (x for x in text.splitlines() if x.startswith("picket_received_bytes_t"))
    return float(line.split()[1])


def measure(home: Path, reports: int) -> dict[str, object]:
    (port,) = free_ports(1)
    words = {AWAY: ["--metrics", f"127.0.0.1:{port}"]}
    with cluster(home, [*SPEAKERS, AWAY], init=words) as town:
        town.start()
        away, present = town[AWAY], town[SPEAKERS[0]]
        away.end()
        before = stored(away)
        began = time.perf_counter()
        trio.run(talk_all, town, reports)
        talked_s = time.perf_counter() - began
        everybody = [town[name] for name in SPEAKERS]
        until(lambda: len({heads(node) for node in everybody}) == 1, PATIENCE_S)
        began = time.perf_counter()
        away.start()
        away.wait_ready()
        ready_s = time.perf_counter() - began
        until(lambda: heads(away) >= heads(present), PATIENCE_S)
        caught_up_s = time.perf_counter() - began
        until(lambda: stored(away)[0] >= stored(present)[0], PATIENCE_S)
        missing = stored(away)[1] - before[1]
        return {
            "reports": reports,
            "batches_missed": stored(away)[0] - before[0],
            "reports_said_per_s": round(reports / talked_s),
            "ready_s": round(ready_s, 2),
            "caught_up_s": round(caught_up_s, 2),
            "bytes_missing": missing,
            "ratio_received": round(received_bytes(port) / missing, 3),
            "load": round(os.getloadavg()[0], 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.reports)
    sys.stdout.write(json.dumps({"bench": "catchup", **found}) + "\n")


if __name__ == "__main__":
    main()
