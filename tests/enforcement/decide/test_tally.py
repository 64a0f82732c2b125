"""The promises of the tally: exactly what its voices come to, and never more."""

from fractions import Fraction

import attrs
from hypothesis import given
from hypothesis import strategies as st

from enforcement.decide.remarks import HALF_LIFE_MS, Voice
from enforcement.decide.tally import Tally
from enforcement.decide.thresholds import MICRO
from gossip.units import NodeId

NOW = 1_800_000_000_000
DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS


def node(n: int) -> NodeId:
    return NodeId(n.to_bytes(32, "big"))


def voice(
    by: int,
    at_ms: int,
    severity: int = 9,
    weight_ppm: int = MICRO,
    shared: int | None = None,
) -> Voice:
    return Voice(
        order=(at_ms, node(by), b"i", 0, 0),
        reporter=node(by),
        category="odd",
        severity=severity,
        weight_ppm=weight_ppm,
        shared=None if shared is None else node(shared),
    )


def tally(voices: list[Voice]) -> Tally:
    made = Tally()
    for one in sorted(voices, key=lambda v: v.order):
        made.put(one)
    return made


def expected(voices: list[Voice], at_ms: int) -> Fraction:
    """By definition, in seconds; no voice is worth more than what it was said with."""
    last = {one.reporter: one for one in sorted(voices, key=lambda v: v.order)}
    worths: dict[NodeId, Fraction] = {}
    for one in last.values():
        age_s = max(0, at_ms // 1_000 - one.at_ms // 1_000)
        worth = one.fresh_micro * Fraction(2.0 ** (-(age_s % 900) / 900))
        who = one.shared or one.reporter
        worths[who] = max(worth / 2 ** (age_s // 900), worths.get(who, Fraction(0)))
    return sum(worths.values(), Fraction(0))


spans = st.one_of(st.integers(0, 3 * HALF_LIFE_MS), st.integers(0, 40 * DAY_MS))
voices = st.lists(
    st.builds(
        voice,
        by=st.integers(0, 9),
        at_ms=spans.map(lambda ms: NOW + ms),
        severity=st.integers(1, 9),
        weight_ppm=st.integers(0, 2 * MICRO),
        shared=st.sampled_from([None, None, None, 0, 1]),
    ),
    max_size=30,
)


@given(voices, spans)
def test_it_comes_to_what_its_voices_are_worth_at_any_time(
    said: list[Voice], after_ms: int
) -> None:
    at_ms = NOW + after_ms
    off = tally(said).sum(at_ms) - expected(said, at_ms)
    assert -10 < off <= Fraction(1, 2) + Fraction(1, 1_000)


@given(
    st.lists(st.integers(0, 3 * HALF_LIFE_MS), min_size=1, max_size=60),
    st.integers(0, 3 * HALF_LIFE_MS),
)
def test_f_whole_voices_never_exceed_f(stamps: list[int], after_ms: int) -> None:
    liars = [voice(by, NOW + ms) for by, ms in enumerate(stamps)]
    made = tally(liars)
    for at_ms in (NOW + after_ms, *(one.at_ms for one in liars)):
        assert made.sum(at_ms) <= len(liars) * MICRO
    together = tally([voice(by, NOW) for by in range(len(liars))])
    assert together.sum(NOW) == len(liars) * MICRO


@given(voices)
def test_it_only_fades(said: list[Voice]) -> None:
    made = tally(said)
    newest = max((one.at_ms for one in said), default=NOW)
    worths = [made.sum(newest + s * 1_000) for s in (0, 1, 899, 900, 901, 54_000)]
    assert worths == sorted(worths, reverse=True)
    assert made.sum(newest + 2 * DAY_MS) == 0


@given(voices)
def test_saying_it_again_is_as_if_said_only_then(said: list[Voice]) -> None:
    last = {one.reporter: one for one in sorted(said, key=lambda v: v.order)}
    newest = max((one.at_ms for one in said), default=NOW)
    difference = tally(said).sum(newest) - tally([*last.values()]).sum(newest)
    assert abs(difference) <= 1


def test_who_shares_a_voice_has_the_most_that_any_of_them_is_worth() -> None:
    said = [voice(1, NOW), voice(2, NOW, 3, shared=1), voice(3, NOW, 9, shared=1)]
    assert tally(said).sum(NOW) == MICRO
    assert tally([*said, voice(4, NOW, 9)]).sum(NOW) == 2 * MICRO
    alone = [attrs.evolve(one, shared=None) for one in said]
    assert tally(alone).sum(NOW) > 2 * MICRO


def test_a_stamp_ahead_makes_nobody_elses_voice_older() -> None:
    made = tally([voice(1, NOW), voice(2, NOW + 120_000)])
    assert made.sum(NOW) == 2 * MICRO


def test_stamps_of_other_centuries_make_nothing_grow() -> None:
    made = tally([voice(n, n * YEAR_MS) for n in range(57)])
    assert made.sum(NOW) == 0
    made.put(voice(99, NOW))
    assert made.sum(NOW) == MICRO
    assert made.sum(NOW + 64 * HALF_LIFE_MS) == made.sum(10**15) == 0
    assert made._total.bit_length() < 256


def test_cleared_it_begins_anew() -> None:
    made = tally([voice(1, NOW), voice(2, NOW, shared=1)])
    made.clear()
    assert made.sum(NOW) == 0
    made.put(voice(1, NOW - DAY_MS))
    assert made.sum(NOW - DAY_MS) == MICRO
