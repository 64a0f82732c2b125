"""`picket sim`: run scenarios, list them, search for trouble at random.

The `picket` command finds this group by its entry point, since the daemon's
package and this one do not know each other.
"""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from typing import TextIO, TypeAlias

import attrs
import click

from gossip.errors import UserError
from scenarios.borrowed import find_suite
from scenarios.calibration import calibrated, read_calibration
from scenarios.onlooker import Onlooker
from scenarios.page import Chronicle, write_page
from scenarios.reading import library, load
from scenarios.run import run
from scenarios.script import NODES_MAX, Scenario
from scenarios.swarm import failure, random_scenario, shrink
from scenarios.telling import Took, as_object, tell
from scenarios.world import World
from scenarios.writing import write_scenario


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def sim() -> None:
    """Simulate clusters under attack, from one seed."""


@sim.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the scenarios that come with Picket."""
    known = {name: load(name) for name in library()}
    if as_json:
        shown = [
            {"name": n, "title": s.title, "nodes": s.size, "length_s": s.length_s}
            for n, s in known.items()
        ]
        click.echo(json.dumps(shown, indent=2))
        return
    for name, scenario in known.items():
        beyond = f"; not passed yet: {scenario.beyond}" if scenario.beyond else ""
        click.echo(f"{name:18} {scenario.size:>6} nodes  {scenario.title}{beyond}")


@sim.command("run")
@click.argument("name", metavar="NAME|FILE")
@click.option("--seed", type=click.IntRange(0), help="Default: the file's first.")
@click.option(
    "--nodes", type=click.IntRange(1, NODES_MAX), help="Roles keep their proportions."
)
@click.option("--reduced", is_flag=True, help="As every change is tested.")
@click.option("--suite", default="toy", show_default=True, help="Or openssl, liboqs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--trace", metavar="FILE", help="Write every event, a line of JSON each.")
@click.option("--report", metavar="FILE", help="Write a page to look at (HTML).")
@click.option(
    "--calibration",
    metavar="FILE",
    help="What `make calibrate` measured, to reckon by.",
)
@click.option("--real", is_flag=True, help="Real daemons, 16 at most, in real time.")
def run_(
    name: str,
    seed: int | None,
    nodes: int | None,
    reduced: bool,
    suite: str,
    as_json: bool,
    trace: str | None,
    report: str | None,
    calibration: str | None,
    real: bool,
) -> int:
    """Run one scenario; exit 1 if what it expects does not hold."""
    scenario = load(name)
    if calibration is not None:
        scenario = calibrated(scenario, read_calibration(calibration))
    if reduced:
        scenario = scenario.reduced()
    if nodes is not None:
        scenario = _resized(name, scenario, nodes)
    if seed is None:
        seed = scenario.seeds[0]
    if real:
        simulated = {"--calibration": calibration, "--trace": trace, "--report": report}
        simulated["--suite"] = None if suite == "toy" else suite
        return _run_real(name, scenario, seed, simulated, as_json)
    chronicles: list[Chronicle] = []

    def onlookers(world: World) -> list[Onlooker]:
        if report is not None:
            chronicles.append(Chronicle(world))
        return [*chronicles]

    began, began_cpu = perf_counter(), process_time()
    with _opened(trace) as out, _progress(scenario.title) as progress:
        verdict = run(
            scenario,
            seed,
            suite=find_suite(suite, seed),
            trace=out,
            onlookers=onlookers,
            progress=progress,
        )
    took = Took(perf_counter() - began, process_time() - began_cpu)
    if report is not None:
        _write(report, write_page(scenario, verdict, chronicles[0]))
    replay = f"picket sim run {shlex.quote(name)} --seed {seed}"
    if reduced:
        replay += " --reduced"
    if nodes is not None:
        replay += f" --nodes {nodes}"
    if suite != "toy":
        replay += f" --suite {suite}"
    if calibration is not None:
        replay += f" --calibration {shlex.quote(calibration)}"
    if as_json:
        click.echo(json.dumps(as_object(verdict, replay, took), indent=2))
    else:
        tell(scenario, verdict, replay, took)
    return 0 if verdict.passed else 1


def _resized(name: str, scenario: Scenario, nodes: int) -> Scenario:
    """The scenario with so many nodes, and no more."""
    resized = scenario.resized(nodes)
    if resized.size != nodes:
        raise UserError(
            f"`--nodes {nodes}`: {name} takes {resized.size} nodes at least, with all"
            " that its roles and its story need"
        )
    return resized


def _run_real(
    name: str,
    scenario: Scenario,
    seed: int,
    simulated: Mapping[str, str | None],
    as_json: bool,
) -> int:
    """Run against daemons; options that mean the simulator are refused."""
    for option, value in simulated.items():
        if value is not None:
            raise UserError(
                f"`{option}` is for the simulator; leave it or `--real` out"
            )
    from scenarios.real.run import run_real
    from scenarios.real.telling import as_real_object, tell_real

    verdict = run_real(name, scenario, seed, progress=_progress(scenario.title))
    if as_json:
        click.echo(json.dumps(as_real_object(verdict), indent=2))
    else:
        tell_real(scenario, verdict)
    return 0 if verdict.passed else 1


@sim.command("check")
@click.option("--runs", type=click.IntRange(1), default=200, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=1, help="So many at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_(runs: int, jobs: int, as_json: bool) -> int:
    """Run the library, reduced, with one seed after another.

    What Picket is known not to pass yet is left out.
    """
    began, failed = perf_counter(), []
    names = [name for name in library() if not load(name).beyond]
    turns = [(names[i % len(names)], 1 + i // len(names)) for i in range(runs)]
    with _workers(jobs) as each:
        for (name, seed), failures in zip(turns, each(_check, turns), strict=True):
            if not failures:
                continue
            replay = f"picket sim run {name} --seed {seed} --reduced"
            failed.append({"failures": [*failures], "replay": replay})
            if not as_json:
                click.secho(f"{name}, seed {seed}: {failures[0]}", fg="red")
                click.echo(f"replay: {replay}")
    took_s = round(perf_counter() - began, 1)
    if as_json:
        click.echo(json.dumps({"runs": runs, "failed": failed, "seconds": took_s}))
    else:
        click.echo(f"{runs} runs in {took_s} s, {len(failed)} failed")
    return 1 if failed else 0


def _check(turn: tuple[str, int]) -> tuple[str, ...]:
    name, seed = turn
    return run(load(name).reduced(), seed).failures


_Each: TypeAlias = Callable[
    [Callable[[tuple[str, int]], tuple[str, ...]], list[tuple[str, int]]],
    Iterator[tuple[str, ...]],
]


@contextmanager
def _workers(jobs: int) -> Iterator[_Each]:
    """`map`, in so many processes."""
    if jobs == 1:
        yield map
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield pool.map


@sim.command("swarm")
@click.option("--minutes", type=click.FloatRange(0.01), default=1.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, help="The first seed.")
@click.option("--out", metavar="DIR", default=".", help="Where failures are written.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def swarm_(minutes: float, seed: int, out: str, as_json: bool) -> int:
    """Run random scenarios; shrink what fails; exit 1 if anything did."""
    failed: list[dict[str, object]] = []
    first, began = seed, perf_counter()
    while perf_counter() - began < minutes * 60:
        scenario = random_scenario(seed)
        verdict = run(scenario, seed)
        if not verdict.passed:
            path = _keep(scenario, seed, Path(out))
            replay = f"picket sim run {shlex.quote(str(path))} --seed {seed}"
            failed.append(
                {"seed": seed, "failures": [*verdict.failures], "replay": replay}
            )
            if not as_json:
                click.secho(f"seed {seed}: {verdict.failures[0]}", fg="red")
                click.echo(f"replay: {replay}")
        seed += 1
    if as_json:
        told = {"first_seed": first, "runs": seed - first, "failed": failed}
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo(f"{seed - first} runs from seed {first}, {len(failed)} failed")
    return 1 if failed else 0


@sim.command("shrink")
@click.argument("name", metavar="NAME|FILE")
@click.option("--seed", type=click.IntRange(0), help="Default: the file's first.")
@click.option("--out", metavar="FILE", help="Write there instead of to stdout.")
def shrink_(name: str, seed: int | None, out: str | None) -> int:
    """Find the smallest scenario that fails as this one does."""
    scenario = load(name)
    seed = scenario.seeds[0] if seed is None else seed
    if failure(scenario, seed) is None:
        raise UserError(f"`{name}` does not fail with seed {seed}")
    text = write_scenario(shrink(scenario, seed))
    if out is None:
        click.echo(text, nl=False)
    else:
        _write(out, text)
    return 0


def _keep(scenario: Scenario, seed: int, folder: Path) -> Path:
    """Shrink a failure and write it down."""
    path = folder / f"swarm-{seed}.toml"
    smallest = attrs.evolve(shrink(scenario, seed), seeds=(seed,))
    _write(str(path), write_scenario(smallest))
    return path


@contextmanager
def _opened(path: str | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    try:
        with Path(path).open("w", encoding="utf-8") as out:
            yield out
    except OSError as wrong:
        raise UserError(f"cannot write `{path}`: {wrong.strerror}") from wrong


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as wrong:
        raise UserError(f"cannot write `{path}`: {wrong.strerror}") from wrong


@contextmanager
def _progress(title: str) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal's stderr; nothing anywhere else."""
    if not sys.stderr.isatty():
        yield lambda _share: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)
