"""The scale study: one story at growing sizes, written as docs/scale.md with plots.

``python -m scenarios.study`` runs every size in a process of its own, so that its
peak of memory is its own. What is reckoned stands beside what was simulated.
"""

import argparse
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import time
from heapq import heappop, heappush
from math import ceil, log
from pathlib import Path
from statistics import fmean
from typing import Final

import attrs

from gossip.spread.view import dials
from scenarios.calibrate import verify_us
from scenarios.figures import percentile
from scenarios.geography import way_us
from scenarios.onlooker import Onlooker
from scenarios.prediction import Spreading
from scenarios.reading import load
from scenarios.run import Verdict, run
from scenarios.scalepage import Feeds, Row, Turns, write_study
from scenarios.script import (
    Cluster,
    Delay,
    Expectations,
    NetworkPlan,
    Scenario,
    Some,
    Step,
)
from scenarios.world import World

SIZES: Final = (100, 1_000, 10_000)
ALL_SPEAK: Final = (50, 100, 200)
"""Sizes at which every node has a feed: what one more feed costs everybody."""
DROPPERS: Final = (10, 30, 50)
TURNS_AMONG: Final = 1_000
TURN_SEEDS: Final = (1, 2, 3)
CITIES: Final = ("frankfurt", "virginia", "singapore", "tokyo", "sao-paulo", "oregon")
IN_CITY: Final = Delay(min_ms=0.5, mean_ms=1.5)
REPORTS_S: Final = (3.0, 9.0)
"""From when to when there is a report a second."""
ATTACK_S: Final = 9.5


def scenario(nodes: int) -> Scenario:
    """One node speaks, one node attacks another, and the rest has to know."""
    begin, end = REPORTS_S
    speaker, witness = (Some("honest-0"),), (Some("honest-1"),)
    return Scenario(
        title=f"{nodes} nodes",
        nodes=(("honest", nodes - 1), ("attacker", 1)),
        length_s=12.0,
        cluster=Cluster(opens="speakers"),
        network=NetworkPlan(delay=IN_CITY, cities=CITIES),
        story=(
            Step(
                at_s=begin,
                does="report",
                who=speaker,
                every_s=1,
                times=int(end - begin),
            ),
            Step(
                at_s=ATTACK_S,
                does="offend",
                who=(Some("attacker-0"),),
                seen_by=witness,
            ),
        ),
        expect=Expectations(eventually=("deliver everything", "deny attacker-0")),
    )


def all_speak(nodes: int) -> Scenario:
    """Every node has a feed, which every other holds."""
    return Scenario(
        title=f"{nodes} feeds",
        nodes=(("honest", nodes),),
        length_s=20.0,
        network=NetworkPlan(delay=IN_CITY),
        expect=Expectations(eventually=("ledgers agree",)),
    )


@attrs.define
class Meter(Spreading):
    """Ways of each report, and bytes between one and the next."""

    sent: list[int] = attrs.field(factory=list)

    def happened(self, who: str, what: str) -> None:
        """A report begins: what was sent since the one before is that one's."""
        del who
        if what == "report":
            self.sent.append(sum(c.sent_bytes for c in self.world.citizens))

    def bytes_per_node(self) -> float:
        """Mean bytes that a node sent for a report, the first left out."""
        steps = [b - a for a, b in zip(self.sent[1:], self.sent[2:], strict=False)]
        return fmean(steps) / len(self.world.citizens)

    def batch_bytes(self) -> int:
        """The size of a batch that holds one report."""
        speaker = next(c for c in self.world.citizens if c.name == "honest-0")
        sizes = speaker.disk.sizes()
        return sizes[max(place for place in sizes if place[0][0] == speaker.node)]


def study(nodes: int) -> Row:
    """Run one size, in this process."""
    before, meters = _peak_mb(), list[Meter]()

    def onlookers(world: World) -> list[Onlooker]:
        meters.append(Meter(world))
        return [*meters]

    began = time.process_time()
    verdict = run(scenario(nodes), 1, onlookers=onlookers)
    cpu_s = time.process_time() - began
    _must_pass(verdict)
    found, (first, *rest) = verdict.figures, meters[0].ways_us()
    ways = [way for each in rest for way in each]
    return Row(
        nodes=nodes,
        first_p99_ms=percentile(first, 0.99) / 1_000,
        reach_p50_ms=percentile(ways, 0.5) / 1_000,
        reach_p99_ms=percentile(ways, 0.99) / 1_000,
        reach_max_ms=max(ways) / 1_000,
        cut_p50_ms=found["cut_p50_ms"],
        cut_p99_ms=found["cut_p99_ms"],
        bytes_per_report=meters[0].bytes_per_node(),
        batch_bytes=meters[0].batch_bytes(),
        duplicates=found["duplicates_per_batch"],
        memory_mb=_peak_mb() - before,
        cpu_s=cpu_s,
        events=verdict.events,
        links=fmean(len(c.links) for c in meters[0].world.citizens),
        reckoned_ms=reckoned_reach_ms(nodes),
        floor_ms=shortest_ways_ms(meters[0].world),
    )


def study_feeds(nodes: int) -> Feeds:
    """What a node holds where all speak, in this process."""
    before, worlds = _held_mb(), list[World]()

    def onlookers(world: World) -> list[Onlooker]:
        worlds.append(world)
        return []

    verdict = run(all_speak(nodes), 1, onlookers=onlookers)
    _must_pass(verdict)
    disks = [sum(c.disk.sizes().values()) for c in worlds[0].citizens]
    return Feeds(
        nodes=nodes,
        held_kb=1_024 * (_held_mb() - before) / nodes**2,
        disk_kb=fmean(disks) / nodes / 1_024,
        sent_mb=verdict.figures["bytes_per_node"] / 1e6,
    )


def study_turns(share: int, nodes: int = TURNS_AMONG) -> Turns:
    """One speaker and two among so many percent of droppers, in this process."""
    story = load(f"droppers_{share}").resized(nodes)
    (step,) = story.story
    other = attrs.evolve(step, at_s=step.at_s + 0.5, who=(Some("honest-1"),))
    found = []
    for steps in ((step,), (step, other)):
        ways = [_ways_ms(attrs.evolve(story, story=steps), seed) for seed in TURN_SEEDS]
        found.append(max(first for first, _ in ways))
        found.append(max(rest for _, rest in ways))
    return Turns(
        share=share,
        one_first_ms=found[0],
        one_rest_ms=found[1],
        two_first_ms=found[2],
        two_rest_ms=found[3],
        bar_ms=dict(story.expect.bars)["reach_p99_ms"],
    )


def _ways_ms(asked: Scenario, seed: int) -> tuple[float, float]:
    """Reach, p99: of the first report, and of the others."""
    meters: list[Spreading] = []

    def onlookers(world: World) -> list[Onlooker]:
        meters.append(Spreading(world))
        return [*meters]

    expect = attrs.evolve(asked.expect, bars=(("delivered_percent", 100.0),))
    _must_pass(run(attrs.evolve(asked, expect=expect), seed, onlookers=onlookers))
    first, *rest = meters[0].ways_us()
    others = [way for ways in rest for way in ways]
    return percentile(first, 0.99) / 1_000, percentile(others, 0.99) / 1_000


def reckoned_reach_ms(nodes: int) -> float:
    """Hops of a balanced tree, each as long as a way between two nodes is on average."""
    hops = log(nodes) / log(2 * dials(nodes) - 1)
    ways = [way_us(a, b) / 1_000 for a in CITIES for b in CITIES]
    return hops * (fmean(ways) + IN_CITY.mean_ms)


def shortest_ways_ms(world: World) -> float:
    """The 99th percentile of the shortest ways from the speaker, if nothing ever waits.

    Over the links there are at the end; what varies is taken at its mean.
    """
    delay = world.network.plan.delay
    extra_us = round((delay.mean_ms - delay.min_ms) * 1_000)
    speaker = next(c.index for c in world.citizens if c.name == "honest-0")
    soonest, coming = dict[int, int](), [(0, speaker)]
    while coming:
        at_us, index = heappop(coming)
        if index in soonest:
            continue
        soonest[index] = at_us
        for peer, link in world.citizens[index].links.items():
            if peer not in soonest:
                heappush(coming, (at_us + link.way_us + extra_us, peer))
    return percentile([*soonest.values()], 0.99) / 1_000


def voices_needed(nodes: int, colluders: int) -> int:
    """How many fresh founders of severity 8 it takes to quarantine without a proof."""
    mistaken = ceil(0.05 * nodes) if nodes >= 7 else 0
    return int((colluders + mistaken) / (0.9 * 8 / 9)) + 1


def _must_pass(verdict: Verdict) -> None:
    if not verdict.passed:
        raise SystemExit(f"{verdict.scenario}: {'; '.join(verdict.failures)}")


def _held_mb() -> float:
    """What this process holds once it has let go of what it can."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


def _apart(kind: str, nodes: int) -> dict[str, float]:
    """One size in a process of its own."""
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "scenarios.study", f"--{kind}", str(nodes)],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def main() -> None:
    """Study the sizes asked for and write the page."""
    parser = argparse.ArgumentParser(prog="make study", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--out", default="docs")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--feeds", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--turns", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.stdout.write(json.dumps(attrs.asdict(study(options.one))))
        return
    if options.feeds:
        sys.stdout.write(json.dumps(attrs.asdict(study_feeds(options.feeds))))
        return
    if options.turns:
        sys.stdout.write(json.dumps(attrs.asdict(study_turns(options.turns))))
        return
    rows: list[Row] = []
    for size in options.sizes:
        sys.stderr.write(f"{size} nodes\n")
        rows.append(Row(**_apart("one", size)))
    turns = [Turns(**_apart("turns", share)) for share in DROPPERS]
    feeds = [Feeds(**_apart("feeds", size)) for size in ALL_SPEAK]
    voices = [(n, voices_needed(n, 3)) for n in options.sizes]
    signature_us = verify_us("openssl")
    write_study(Path(options.out), rows, turns, feeds, voices, CITIES, signature_us)


if __name__ == "__main__":
    main()
