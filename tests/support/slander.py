"""The library's slander among few nodes, for trials by the thousand."""

import attrs

from scenarios.reading import load
from scenarios.script import Scenario


def slander(size: int) -> Scenario:
    """As many liars as so many nodes bear, without a long beginning and end."""
    whole = load("slander")
    liars = (size - 1) // 3
    return attrs.evolve(
        whole,
        nodes=(("honest", size - liars), ("liar", liars)),
        cluster=attrs.evolve(whole.cluster, colluders=liars),
        story=tuple(attrs.evolve(step, at_s=1.0, times=2) for step in whole.story),
        length_s=6,
    )
