"""Tells how a real run ended: to people, or as one JSON object."""

import click

from scenarios.figures import BARS
from scenarios.real.run import RealVerdict
from scenarios.script import Scenario


def as_real_object(verdict: RealVerdict) -> dict[str, object]:
    """The one JSON object of a run. Nothing in it repeats exactly."""
    return {
        "scenario": verdict.scenario,
        "verdict": "pass" if verdict.passed else "fail",
        "failures": list(verdict.failures),
        "seed": verdict.seed,
        "nodes": verdict.nodes,
        "network": verdict.network,
        "figures": dict(sorted(verdict.figures.items())),
        "lines": verdict.lines,
        "unanswered": list(verdict.unanswered),
        "unserved": list(verdict.unserved),
        "disbelieved": verdict.disbelieved,
        "length_s": verdict.length_s,
    }


def tell_real(scenario: Scenario, verdict: RealVerdict) -> None:
    """Print a verdict for people."""
    where = "each in a network namespace of its own"
    if verdict.network == "loopback":
        where = (
            "on loopback addresses, for this machine lets us make no namespaces: no"
            " packet was delayed or lost"
        )
    click.echo(
        f"{verdict.scenario}: {verdict.nodes} real daemons, {where};"
        f" seed {verdict.seed}, {verdict.length_s:g} s"
    )
    limits = dict(scenario.expect.bars)
    for figure, value in verdict.figures.items():
        limit = ""
        if figure in limits:
            limit = f"   {'≥' if BARS[figure][1] else '≤'} {limits[figure]:g}"
        click.echo(f"  {figure:22} {value:>14,.3f}{limit}")
    if verdict.disbelieved:
        click.echo(f"  proofs that proved nothing: {verdict.disbelieved}")
    for what, vain in (
        ("asked in vain", verdict.unanswered),
        ("not served", verdict.unserved),
    ):
        if vain:
            click.echo(f"  {what}: {len(vain)}, first {vain[0]}")
    for sentence in verdict.failures:
        click.secho(f"  {sentence}", fg="red")
    if verdict.passed:
        click.secho("passed", fg="green")
    else:
        click.secho("FAILED", fg="red", bold=True)
