"""Tells how a run ended: to people, or as one JSON object."""

import attrs
import click

from scenarios.figures import BARS
from scenarios.run import Verdict
from scenarios.script import Scenario


@attrs.frozen
class Took:
    """How long a run took, in seconds by the wall's clock and of the processor."""

    wall_s: float
    cpu_s: float


def as_object(verdict: Verdict, replay: str, took: Took) -> dict[str, object]:
    """The one JSON object of a run. Everything but ``wall`` repeats exactly."""
    return {
        "scenario": verdict.scenario,
        "verdict": "pass" if verdict.passed else "fail",
        "failures": list(verdict.failures),
        "seed": verdict.seed,
        "nodes": verdict.nodes,
        "figures": dict(sorted(verdict.figures.items())),
        "events": verdict.events,
        "simulated_s": verdict.simulated_s,
        "trace_digest": verdict.trace_digest,
        "replay": replay,
        "wall": {
            "seconds": round(took.wall_s, 3),
            "cpu_seconds": round(took.cpu_s, 3),
            "events_per_s": round(verdict.events / took.wall_s),
            "events_per_cpu_s": round(verdict.events / took.cpu_s),
        },
    }


def tell(scenario: Scenario, verdict: Verdict, replay: str, took: Took) -> None:
    """Print a verdict for people."""
    limits = dict(scenario.expect.bars)
    click.echo(
        f"{verdict.scenario}: {verdict.nodes} nodes, seed {verdict.seed},"
        f" {verdict.simulated_s:.1f} s simulated in {took.wall_s:.1f} s,"
        f" {took.cpu_s:.1f} s of the processor"
        f" ({verdict.events / took.cpu_s:,.0f} events/s of it)"
    )
    for figure, value in verdict.figures.items():
        limit = ""
        if figure in limits:
            limit = f"   {'≥' if BARS[figure][1] else '≤'} {limits[figure]:g}"
        click.echo(f"  {figure:22} {value:>14,.3f}{limit}")
    click.echo(f"  {'trace_digest':22} {verdict.trace_digest}")
    for sentence in verdict.failures:
        click.secho(f"  {sentence}", fg="red")
    if verdict.passed:
        click.secho("passed", fg="green")
    else:
        click.secho("FAILED", fg="red", bold=True)
        click.echo(f"replay: {replay}")
