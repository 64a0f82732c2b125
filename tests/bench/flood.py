"""What 10 000 half-open calls cost the links that are up; prints JSON.

Run as ``python -m tests.bench.flood [--calls 10000]``. Two members in one process
exchange gossip over their link as fast as it takes it, in rounds: in every other one
another process opens calls to one of them, says the first bytes of the protocol, and
nothing more. Its CPU is not ours, but on a machine with few cores it takes some.
"""

import argparse
import json
import os
import subprocess
import sys
from statistics import median
from time import perf_counter, process_time

import trio

from tests.node.links.clusters import Member, members, running

ROUND_S = 3.0
ROUNDS = 5
FRAME_BYTES = 16_384
ATTACKER = """
import resource, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print(made, flush=True), sys.exit()))
made = 0
port, calls, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held, made, ends = [], 0, time.monotonic() + seconds
while made < calls and time.monotonic() < ends:
    sock = socket.socket()
    sock.setblocking(False)
    try:
        sock.connect(("127.0.0.1", port))
    except BlockingIOError:
        pass
    except OSError:
        break
    try:
        sock.send(b"\\x13/multistream/1.0.0\\n")
    except OSError:
        pass
    held.append(sock)
    made += 1
    if len(held) > 4_000:
        held.pop(0).close()
    time.sleep(max(0.0, seconds / calls / 2))
time.sleep(60)
"""


async def throughput(one: Member, other: Member) -> tuple[float, float]:
    """Frames a second from one to the other for a round, and CPU of each in ms."""
    before = other.links.statistics().frames_in
    began, cpu = perf_counter(), process_time()
    frame = bytes(FRAME_BYTES)
    while (seconds := perf_counter() - began) < ROUND_S:
        if not one.links.send(other.node, frame):
            await trio.sleep(0.001)
        else:
            await trio.lowlevel.checkpoint()
        other.diary.clear()
    frames = other.links.statistics().frames_in - before
    return frames / seconds, 1_000 * (process_time() - cpu) / max(1, frames)


async def measure(calls: int) -> dict[str, object]:
    a, b = members(2)
    calm: list[float] = []
    flooded: list[float] = []
    cpu: dict[bool, list[float]] = {False: [], True: []}
    made: list[int] = []
    async with running(a, b):
        b.wants(a)
        await b.until_up()
        for turn in range(2 * ROUNDS):
            if turn % 2 == 0:
                rate, each = await throughput(b, a)
                calm.append(rate)
                cpu[False].append(each)
                continue
            port = a.links.listening[0][1]
            words = [str(port), str(calls // ROUNDS), str(ROUND_S)]
            with subprocess.Popen(  # noqa: ASYNC220  # starting one does not block
                [sys.executable, "-c", ATTACKER, *words], stdout=subprocess.PIPE
            ) as attacker:
                rate, each = await throughput(b, a)
                flooded.append(rate)
                cpu[True].append(each)
                attacker.terminate()
                assert attacker.stdout is not None
                made.append(int(attacker.stdout.read() or b"0"))
        links = a.links.statistics().links
    return {
        "calls_made": sum(made),
        "link_survived": links == 1,
        "frames_per_s_calm": round(median(calm)),
        "frames_per_s_flooded": round(median(flooded)),
        "ratio": round(median(flooded) / median(calm), 3),
        "cpu_ms_per_frame_ratio": round(median(cpu[True]) / median(cpu[False]), 3),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    options = parser.parse_args()
    found = trio.run(measure, options.calls)
    sys.stdout.write(json.dumps({"bench": "flood", **found}) + "\n")


if __name__ == "__main__":
    main()
