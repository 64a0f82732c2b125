"""Steps that overlap: the last crash and the slowest slowness count."""

import pytest

from scenarios.onlooker import Onlooker
from scenarios.reading import parse
from scenarios.run import run
from scenarios.world import World

TOWN = """
title = "overlaps"
length_s = 20
[nodes]
honest = 3
"""


def step(at_s: float, does: str, more: str = "") -> str:
    return f'[[story]]\nat_s = {at_s}\nwho = "honest-1"\ndoes = "{does}"\n{more}\n'


def seen(*steps: str) -> dict[float, tuple[bool, float]]:
    """Whether `honest-1` is up and by how much it is slowed, at each fifth of a second."""
    worlds: list[World] = []
    found: dict[float, tuple[bool, float]] = {}

    def look(share: float) -> None:
        citizen = worlds[0].citizens[1]
        found[round(20 * share, 1)] = (citizen.is_up, citizen.factor)

    def meet(world: World) -> list[Onlooker]:
        worlds.append(world)
        return []

    run(parse(TOWN + "".join(steps), "x"), 1, onlookers=meet, progress=look)
    return found


@pytest.mark.parametrize("does", ["crash", "leave"])
def test_who_crashes_for_ever_does_not_come_back_by_an_earlier_crash(does: str) -> None:
    found = seen(step(2, "crash", "for_s = 5"), step(3, does))
    assert [found[at_s][0] for at_s in (1.0, 5.0, 9.0, 20.0)] == [True, *[False] * 3]


def test_who_crashes_twice_is_back_when_the_last_is_over() -> None:
    found = seen(step(2, "crash", "for_s = 3"), step(3, "crash", "for_s = 8"))
    assert [found[at_s][0] for at_s in (6.0, 10.0, 12.0)] == [False, False, True]


def test_who_is_slowed_twice_is_as_slow_as_the_slower_says() -> None:
    found = seen(
        step(2, "slow", "factor = 9\nfor_s = 3"),
        step(3, "slow", "factor = 4\nfor_s = 8"),
    )
    factors = [found[at_s][1] for at_s in (1.0, 4.0, 6.0, 12.0)]
    assert factors == [1.0, 9.0, 4.0, 1.0]


def test_what_is_repeated_from_the_very_end_happens_once() -> None:
    (plan,) = parse(TOWN + step(20, "report", "every_s = 1"), "x").story
    assert plan.moments_s(20) == [20]
