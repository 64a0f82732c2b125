"""What of a scenario real daemons can do; the rest is refused before anything starts."""

from typing import Final

from scenarios.reading import read_text
from scenarios.real.seen import MEASURED
from scenarios.script import Scenario
from scenarios.tables import Table, read_toml

NODES_MAX: Final = 16
_PACKETS: Final = ("partition", "deafen", "lose")
"""Verbs for which packets must be in our hands."""


def check_fit(name: str, scenario: Scenario, *, namespaces: bool) -> None:
    """Refuse what cannot be done or measured.

    Args:
        name: The file, or the name in the library: what is wrong is told with its
            line and key.
        scenario: As it is to run, resized if that was asked for.
        namespaces: Whether packets are in our hands.

    Raises:
        UserError: one sentence that says what, where and why.
    """
    top = read_toml(read_text(name), name)
    if scenario.size > NODES_MAX:
        raise top.table("nodes").wrong(
            None,
            f"{scenario.size} nodes; at most {NODES_MAX} can be real: say"
            f" `--nodes {NODES_MAX}`",
        )
    most = (scenario.size - 1) // 3
    if (scenario.cluster.colluders or 0) > most:
        raise top.table("cluster").wrong(
            "colluders", f"must be 0 to {most} for {scenario.size} nodes"
        )
    if scenario.cluster.sponsored:
        raise top.table("cluster").wrong(
            "sponsored", "here real nodes are all founders"
        )
    if scenario.network.datagrams:
        raise top.table("network").wrong(
            "datagrams", "real links are streams; only the simulator can do without"
        )
    if scenario.network.loss and not namespaces:
        raise top.table("network").wrong("loss", _NO_NAMESPACES)
    for step in top.tables("story"):
        _check_step(step, namespaces=namespaces)
    for bar in top.table("bars").names:
        if bar not in MEASURED:
            raise top.table("bars").wrong(
                bar, f"`{bar}` cannot be measured of real nodes"
            )


def _check_step(step: Table, *, namespaces: bool) -> None:
    does = step.text("does")
    if does in _PACKETS and not namespaces:
        raise step.wrong("does", f"`{does}` {_NO_NAMESPACES}")


_NO_NAMESPACES: Final = (
    "needs network namespaces, which this machine does not let us make; run as root,"
    " or where unprivileged user namespaces and /dev/net/tun are allowed"
)
