"""A calibration: what daemons cost on one machine, for the simulator to reckon by.

`make calibrate` writes one; docs/scenarios.md says what is in it.
"""

from pathlib import Path
from typing import Final

import attrs

from gossip.errors import UserError
from scenarios.script import Costs, Delay, Scenario
from scenarios.tables import Table, read_toml

_US_MAX: Final = 10**7
_MS_MAX: Final = 60_000.0


@attrs.frozen(kw_only=True)
class Calibration:
    """One machine's figures.

    Attributes:
        hop: What a frame takes from daemon to daemon besides the wire's own delay
            and the processor's time: queues, wake-ups, the loop's turn.
        costs: What replaces a scenario's ``[costs]``.
    """

    hop: Delay
    costs: Costs


def read_calibration(file: str) -> Calibration:
    """Read what `make calibrate` wrote.

    Raises:
        UserError: it cannot be read, or is wrong; with line and key.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise UserError(
            f"no calibration `{file}`: it cannot be read; `make calibrate` writes one"
        ) from wrong
    top = read_toml(text, file)
    top.only({"hop_ms", "costs", "measured"})
    hop, costs = top.table("hop_ms"), top.table("costs")
    hop.only({"min", "mean"})
    least = hop.number("min", 0.0, 0.0, _MS_MAX)
    return Calibration(
        hop=Delay(min_ms=least, mean_ms=hop.number("mean", least, least, _MS_MAX)),
        costs=_costs(costs),
    )


def _costs(table: Table) -> Costs:
    names = [field.name for field in attrs.fields(Costs)]
    table.only(names)
    usual = attrs.asdict(Costs())
    return Costs(**{n: table.whole(n, usual[n], 0, _US_MAX) for n in names})


def calibrated(scenario: Scenario, found: Calibration) -> Scenario:
    """The scenario, as daemons on that machine would play it."""
    delay = scenario.network.delay
    network = attrs.evolve(
        scenario.network,
        delay=Delay(
            min_ms=delay.min_ms + found.hop.min_ms,
            mean_ms=delay.mean_ms + found.hop.mean_ms,
        ),
    )
    return attrs.evolve(scenario, network=network, costs=found.costs)


def write_calibration(found: Calibration, measured: dict[str, object]) -> str:
    """The file; ``measured`` is told besides, for people."""
    lines = ["# What daemons cost on this machine; written by `make calibrate`.", ""]
    lines += [
        "[hop_ms]",
        f"min = {found.hop.min_ms:.3f}",
        f"mean = {found.hop.mean_ms:.3f}",
    ]
    lines += ["", "[costs]"]
    lines += [f"{name} = {value}" for name, value in attrs.asdict(found.costs).items()]
    lines += ["", "[measured]"]
    for name, value in measured.items():
        shown = f'"{value}"' if isinstance(value, str) else value
        lines.append(f"{name} = {shown}")
    return "\n".join(lines) + "\n"
