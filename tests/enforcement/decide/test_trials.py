"""The theorem, by random trials: liars cannot convict, honest witnesses can.

*Safety*: f colluders who say anything, with any stamps, in any order, with their
Sybils beside them, and m honest nodes that are mistaken, never quarantine anybody
by voices, while members come and go. *Liveness*: 2f + 1 founders who report
severity 7 or more within a minute always do. A failure prints the seed of its
trial. The slow run makes 10 000 trials of each size, the usual one a hundredth.
"""

import faulthandler
import random
from collections.abc import Callable
from typing import Final

import pytest

from enforcement.decide.case import HALF_LIFE_MS, Case, Level, Voice
from enforcement.decide.thresholds import FALL_MS, MICRO, Census, Thresholds
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import NodeId, UnixMs

SIZES: Final = (4, 5, 7, 10, 16, 32, 64, 128)
SUBJECT: Final = Subject(SubjectKind.NODE, b"s" * 32)
NOW: Final = 1_800_000_000_000
MINUTE: Final = 60_000
SPAN_MS: Final = 3 * FALL_MS

size = pytest.mark.parametrize("members", SIZES)
Trial = Callable[[random.Random, int], Case]


def node(n: int) -> NodeId:
    return NodeId(n.to_bytes(32, "big"))


def census(chance: random.Random, members: int) -> tuple[Census, Thresholds]:
    """N as it changes around ``members``, and the thresholds of the smallest N."""
    changes = [(UnixMs(0), members)]
    for at in sorted(chance.sample(range(SPAN_MS), chance.randint(0, 4))):
        grown = max(4, changes[-1][1] + chance.randint(-2, 2))
        changes.append((UnixMs(NOW + at), grown))
    return Census(tuple(changes)), Thresholds(members=min(n for _, n in changes))


def slander(chance: random.Random, members: int) -> Case:
    """Liars with Sybils, the mistaken, skewed clocks, echoes, any order."""
    counted, least = census(chance, members)
    said: list[Voice] = []

    def say(who: int, at: int, severity: int, shared: int | None) -> None:
        number = len(said)
        said.append(
            Voice(
                order=(at, node(who), b"i", number, 0),
                reporter=node(who),
                category="anything",
                severity=severity,
                weight_ppm=MICRO if chance.random() < 0.5 else chance.randint(0, MICRO),
                shared=None if shared is None else node(shared),
            )
        )

    def stamp() -> int:
        return NOW + chance.randint(-HALF_LIFE_MS, SPAN_MS)

    for liar in range(least.f):
        for _ in range(chance.randint(1, 3)):
            say(liar, stamp(), chance.choice((9, 9, chance.randint(1, 9))), None)
        for sybil in range(chance.choice((0, 0, 3))):
            say(1_000 * (liar + 1) + sybil, stamp(), 9, liar)
    if chance.random() < 0.5:  # all at once, where the sum is highest
        moment = stamp()
        for liar in range(least.f):
            say(liar, moment, 9, None)
        for mistaken in range(least.m):
            say(500 + mistaken, moment + chance.randint(-MINUTE, MINUTE), 9, None)
    chance.shuffle(said)
    case = Case(SUBJECT, counted)
    for voice in said + said[: chance.randint(0, 5)]:
        case.hear(voice)
    return case


def witnessed(chance: random.Random, members: int) -> Case:
    """2f + 1 founders of standard weight, among liars who praise."""
    thresholds = Thresholds(members=members)
    case = Case(SUBJECT, Census.of(thresholds))
    said = [
        Voice(
            order=(NOW + chance.randint(0, MINUTE), node(n), b"i", 0, 0),
            reporter=node(n),
            category="rate-abuse",
            severity=chance.randint(7, 9),
            weight_ppm=900_000,
        )
        for n in range(2 * thresholds.f + 1)
    ]
    chance.shuffle(said)
    for voice in said:
        case.hear(voice)
    return case


def ever_out(case: Case) -> bool:
    times = [voice.order[0] for voice in case.remarks()]
    return any(case.standing(at).level is Level.QUARANTINED for at in times)


def try_often(trial: Trial, members: int, count: int, *, out: bool) -> None:
    for seed in range(count):
        chance = random.Random(f"{members} {seed}")
        assert ever_out(trial(chance, members)) is out, f"seed: {members} {seed}"


@pytest.fixture
def long_run() -> None:
    """Minutes of trials are no hang: nobody wants to see the stack."""
    faulthandler.cancel_dump_traceback_later()


@size
def test_liars_and_the_mistaken_never_convict(members: int) -> None:
    try_often(slander, members, 100, out=False)


@size
def test_enough_founders_always_convict(members: int) -> None:
    try_often(witnessed, members, 100, out=True)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.usefixtures("long_run")
@size
def test_liars_and_the_mistaken_never_convict_in_ten_thousand_trials(
    members: int,
) -> None:
    try_often(slander, members, 10_000, out=False)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.usefixtures("long_run")
@size
def test_enough_founders_always_convict_in_ten_thousand_trials(members: int) -> None:
    try_often(witnessed, members, 10_000, out=True)


def test_a_smaller_cluster_convicts_no_sooner_for_two_hours() -> None:
    counted = Census(((UnixMs(0), 16), (UnixMs(NOW), 7), (UnixMs(NOW + 9), 4)))
    assert counted.at(NOW + FALL_MS - 1).members == 16
    assert counted.at(NOW + FALL_MS).members == 7
    assert counted.at(NOW + FALL_MS + 9).members == 4
    grown = Census(((UnixMs(0), 4), (UnixMs(NOW), 16)))
    assert grown.at(NOW - 1).members == 4
    assert grown.at(NOW).members == 16
