"""`picket bench crypto`: how fast each provider of the suite is on this machine."""

from pathlib import Path

import attrs
import click

from node.cli.common import json_option, say_json
from node.keys.suites.measure import Figures, measure
from node.keys.suites.registry import load_hybrids, providers_report


@click.group()
def bench() -> None:
    """Measure this machine."""


@bench.command()
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="A state directory where liboqs may lie.",
)
@json_option
def crypto(state: Path | None, as_json: bool) -> None:
    """Time every usable provider, side by side. Takes a few seconds.

    On stderr it says which was left out, and why.
    """
    for report in providers_report(state):
        if not report.usable:
            click.echo(f"{report.name} is left out: {report.why_not}", err=True)
    figures = measure(load_hybrids(state))
    if as_json:
        say_json([attrs.asdict(provider) for provider in figures])
    else:
        click.echo(_table(figures))


def _table(figures: list[Figures]) -> str:
    names = [provider.provider for provider in figures]
    lines = [f"{'microseconds':<24}" + "".join(f"{name:>12}" for name in names)]
    lines += [
        f"{operation:<24}"
        + "".join(f"{provider.microseconds[operation]:>12.1f}" for provider in figures)
        for operation in figures[0].microseconds
    ]
    lines.append("verifications a second, in batches of 128")
    lines += [
        f"{'  with ' + threads + ' threads':<24}"
        + "".join(f"{p.batch_per_second[threads]:>12.0f}" for p in figures)
        for threads in figures[0].batch_per_second
    ]
    return "\n".join(lines)
