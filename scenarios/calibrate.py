"""Measures what daemons cost on this machine: ``python -m scenarios.calibrate``.

A few daemons as processes on loopback. Quiet reports give the way from daemon to
daemon; a steady load gives the processor's time for each delivery; the daemons'
own metrics give signatures and commits. What comes out is a file that
``picket sim run --calibration`` reckons by.
"""

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Final

from gossip.domains import Domain
from gossip.errors import UserError
from gossip.suite import Claim
from scenarios.borrowed import find_suite
from scenarios.calibration import Calibration, write_calibration
from scenarios.demo.control import NoAnswer
from scenarios.demo.processes import Failed, first_sentence
from scenarios.people import person
from scenarios.prediction import predict_hops_us
from scenarios.real.ending import ending_in_order, passing_folder, run_until_sigterm
from scenarios.real.gauge import QUIET_PER_S, Measured, pooled, town
from scenarios.script import Costs, Delay

NODES: Final = 5
LOOKS: Final = 3
FRAME_US: Final = 60
"""What any frame costs, roughly; the rest of a delivery is its batch's."""
VERIFIES: Final = 200
INTERRUPTED: Final = 130
FORETOLD: Final = 60
"""Reports by which the simulator is asked."""
NO_WAY_MS: Final = 0.001


def calibration_of(found: Measured, nodes: int, processors: int) -> Calibration:
    """What the simulator makes of it.

    A frame is held once the loop has handled it; what threads do comes later, or beside.
    Daemons that share processors wait for each other, so that a way cannot be told by
    looking at one: told the costs alone, the simulator foretells the ways of this very
    cluster, and what they really were longer is the way from one daemon to another.
    The disk's part of saying is what signing is not.
    """
    costs = Costs(
        frame_us=FRAME_US,
        batch_us=max(0, round(found.loop_us) - FRAME_US),
        sign_us=round(found.sign_us),
        disk_us=max(0, round(median(found.say_us) - found.sign_us)),
        processors=processors,
    )
    bare = Calibration(hop=Delay(min_ms=NO_WAY_MS, mean_ms=NO_WAY_MS), costs=costs)
    foretold = predict_hops_us(nodes, bare, reports=FORETOLD, per_s=QUIET_PER_S)
    longer_ms = (median(found.hop_us) - median(foretold)) / 1_000
    way_ms = max(NO_WAY_MS, round(longer_ms, 3))
    return Calibration(hop=Delay(min_ms=way_ms, mean_ms=way_ms), costs=costs)


async def measure(folder: Path, count: int) -> Measured:
    """Make a cluster in ``folder``, measure it, end it.

    Raises:
        Failed: it does not start, or loses what is said.
    """
    async with town(folder, count) as here:
        return pooled([await here.look() for _ in range(LOOKS)])


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
        "loop_us": round(found.loop_us),
        "verify_us": round(verify_us("auto")),
        "sign_us": round(found.sign_us),
        "store_commit_us": round(found.commit_us),
        "reports_per_signature_in_a_burst": round(found.coalescing, 1),
    }


def processors() -> int:
    """How many this machine lets us have."""
    return len(os.sched_getaffinity(0))


def calibrate(count: int) -> tuple[Calibration, Measured]:
    """Measure with ``count`` daemons.

    Raises:
        UserError: they do not start, or lose something.
        KeyboardInterrupt: Ctrl-C, or SIGTERM.
    """
    ended: BaseException
    with ending_in_order(), passing_folder("picket-cal-") as folder:
        try:
            found = run_until_sigterm(partial(measure, folder, count))
            return calibration_of(found, count, processors()), found
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
