"""Every bar of the simulator at its full size, as one table; exit 1 if one is missed.

Run as ``python -m tests.bench.scenarios [NAME …] [--trials 10000] [--json]``. Each
scenario runs in a process of its own, so that its memory is its own; about ten
minutes in all, half of them for the trials of slander. CPU counts, not the wall's
clock, so that a busy machine does not decide.
"""

import argparse
import json
import resource
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import process_time
from typing import Final

import attrs

from scenarios.reading import load
from scenarios.run import run
from tests.support.slander import slander

LARGE: Final = 10_000


@attrs.frozen(kw_only=True)
class Run:
    """One scenario at full size, and what its figures must be.

    Attributes:
        nodes, length_s: None: as the file says.
        most, least: Bars, by figure. Besides those of `scenarios.figures` there are
            ``cpu_s``, ``peak_mb``, ``events_per_cpu_s`` and, for crashes,
            ``served_again_s``: from the crash to all being held again.
    """

    name: str
    nodes: int | None = None
    length_s: float | None = None
    seeds: tuple[int, ...] = (1,)
    most: tuple[tuple[str, float], ...] = ()
    least: tuple[tuple[str, float], ...] = (("delivered_percent", 100),)


def _droppers(share: int, p99_ms: float) -> Run:
    most = (("reach_p99_ms", p99_ms), ("reach_max_ms", float("inf")))
    return Run(name=f"droppers_{share}", nodes=LARGE, length_s=6, most=most)


def _crash(share: int, within_s: float) -> Run:
    most = (("served_again_s", within_s),)
    return Run(name=f"crash_{share}", seeds=(1, 2, 3), most=most)


RUNS: Final = (
    Run(name="one_report", nodes=LARGE, most=(("cpu_s", 60), ("peak_mb", 8 << 10))),
    Run(name="droppers_10", nodes=1_000, least=(("events_per_cpu_s", 30_000),)),
    *(_droppers(10, 186), _droppers(30, 500), _droppers(50, 1_500)),
    *(_crash(80, 3), _crash(90, 6)),
    *(
        Run(name=name, seeds=(1, 2, 3), most=(("settled_s", 30), ("catch_up_ratio", 2)))
        for name in ("partition_1h", "partition_wide")
    ),
    *(
        Run(name=name, most=(("reach_p99_ms", 250),))
        for name in ("sybils", "eclipse", "cold_boot", "covert_flash")
    ),
    *(
        Run(
            name=name,
            seeds=(1, 2, 3, 4, 5),
            most=(("cut_p99_ms", within_ms), ("false_quarantines", 0)),
            least=(("cut_percent", 100),),
        )
        for name, within_ms in (
            ("proven", 1_000),
            ("equivocator", 2_000),
            ("real_attacker", 5_000),
        )
    ),
)


@attrs.frozen
class Line:
    """One line of the table: the worst of all seeds."""

    name: str
    nodes: int
    figure: str
    value: float
    bar: float
    least: bool

    @property
    def met(self) -> bool:
        """Whether the bar holds."""
        return self.value >= self.bar if self.least else self.value <= self.bar


def measure(asked: Run, seed: int) -> tuple[int, dict[str, float], tuple[str, ...]]:
    """Run one seed: how many nodes, all figures, what failed."""
    scenario = load(asked.name)
    if asked.nodes is not None:
        scenario = scenario.resized(asked.nodes)
    if asked.length_s is not None:
        scenario = attrs.evolve(scenario, length_s=asked.length_s)
    began = process_time()
    verdict = run(scenario, seed)
    cpu_s = process_time() - began
    figures = verdict.figures | {
        "cpu_s": cpu_s,
        "events_per_cpu_s": verdict.events / cpu_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
    }
    crashes = [step.at_s for step in scenario.story if step.does == "crash"]
    if crashes and "settled_s" in figures:
        left_s = scenario.length_s - crashes[-1]
        figures["served_again_s"] = figures["settled_s"] + left_s
    # The bars of the file are those of its own size, and asked for below.
    failures = tuple(f for f in verdict.failures if " was asked" not in f)
    return verdict.nodes, figures, failures


def measure_trials(seeds: Sequence[int]) -> tuple[int, float]:
    """So many trials of as many liars as are borne: false quarantines, and CPU."""
    began, wronged = process_time(), 0
    for seed in seeds:
        verdict = run(slander(4 + seed % 10), seed)
        wronged += bool(verdict.failures or verdict.figures["false_quarantines"])
    return wronged, process_time() - began


def lines(asked: Run) -> Iterator[Line]:
    """The lines of one scenario."""
    found: list[dict[str, float]] = []
    for seed in asked.seeds:
        nodes, figures, failures = _alone(asked, seed)
        found.append(figures)
        yield Line(asked.name, nodes, f"failures, seed {seed}", len(failures), 0, False)
    for bars, least in ((asked.least, True), (asked.most, False)):
        for figure, bar in bars:
            values = [figures.get(figure, float("nan")) for figures in found]
            worst = min(values) if least else max(values)
            yield Line(asked.name, nodes, figure, worst, bar, least)


def _alone(asked: Run, seed: int) -> tuple[int, dict[str, float], tuple[str, ...]]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, asked, seed).result()


def _tell(line: Line) -> None:
    sign = "≥" if line.least else "≤"
    print(  # noqa: T201 - the result
        f"{line.name:16} {line.nodes:>6}  {line.figure:20} {line.value:>12,.1f}"
        f"  {sign} {line.bar:>8,.0f}  {'met' if line.met else 'MISSED'}",
        flush=True,
    )


def main() -> int:
    """Measure, print, and fail if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="scenarios; `slander` for the trials")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--json", action="store_true", help="one object a line")
    asked = parser.parse_args()
    met = True
    for one in RUNS:
        if asked.names and one.name not in asked.names:
            continue
        for line in lines(one):
            met &= line.met
            if asked.json:
                print(json.dumps({**attrs.asdict(line), "met": line.met}), flush=True)  # noqa: T201
            elif not line.figure.startswith("failures") or not line.met:
                _tell(line)
    if not asked.names or "slander" in asked.names:
        wronged, cpu_s = measure_trials(range(asked.trials))
        line = Line("slander", 13, "false_quarantines", wronged, 0, False)
        met &= line.met
        _tell(line)
        print(f"slander: {asked.trials} trials, {cpu_s:.0f} s of the processor")  # noqa: T201
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
