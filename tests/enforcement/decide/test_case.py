"""The promises of ``enforcement.decide.case``: liars cannot fake a quorum."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.decide.case import (
    HALF_LIFE_MS,
    Basis,
    Case,
    Conviction,
    Level,
    Release,
    Remark,
    Voice,
)
from enforcement.decide.terms import TERM_MS, TERM_MS_MAX, term_ms
from enforcement.decide.thresholds import MICRO, Thresholds
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import NodeId

SUBJECT = Subject(SubjectKind.NODE, b"s" * 32)
NOW = 1_800_000_000_000
MINUTE = 60_000


def node(n: int) -> NodeId:
    return NodeId(n.to_bytes(32, "big"))


def voice(
    reporter: int, at: int = NOW, severity: int = 9, number: int = 0, ppm: int = 900_000
) -> Voice:
    return Voice(
        order=(at, node(reporter), b"i", number, 0),
        reporter=node(reporter),
        category="rate-abuse",
        severity=severity,
        weight_ppm=ppm,
    )


def proof(at: int = NOW, offence: int = 0, reporter: int = 1) -> Conviction:
    return Conviction(
        order=(at, node(reporter), b"i", offence, 0),
        reporter=node(reporter),
        offence=offence.to_bytes(16, "big"),
        rule="ledger-writes",
        severity=8,
        committed_at_ms=at,
    )


def release(at: int) -> Release:
    return Release(
        order=(at, b"act", b"", 0, 0), act=b"act", signers=("ops-0",), reason="drill"
    )


def case_of(*remarks: Remark, members: int = 5) -> Case:
    case = Case.of(SUBJECT, Thresholds(members=members))
    for remark in remarks:
        case.hear(remark)
    return case


@pytest.mark.parametrize(
    ("members", "f", "m"),
    [
        (1, 0, 0),
        (3, 0, 0),
        (4, 1, 0),
        (5, 1, 0),
        (7, 2, 1),
        (16, 5, 1),
        (32, 10, 2),
        (128, 42, 7),
    ],
)
def test_tolerated_liars_and_mistakes_follow_the_size(
    members: int, f: int, m: int
) -> None:
    thresholds = Thresholds(members=members)

    assert (thresholds.f, thresholds.m) == (f, m)


offsets = st.integers(-HALF_LIFE_MS * 3, HALF_LIFE_MS * 3)
voices = st.builds(
    voice,
    st.integers(1, 30),
    offsets.map(lambda d: NOW + d),
    st.integers(1, 9),
    st.integers(0, 5),
    st.integers(0, MICRO),
)
remarks = (
    voices
    | st.builds(proof, offsets.map(lambda d: NOW + d), st.integers(0, 4))
    | st.builds(release, offsets.map(lambda d: NOW + d))
)


@given(st.lists(remarks, max_size=20), st.data(), offsets)
def test_order_and_echoes_never_change_the_standing(
    heard: list[Remark], data: st.DataObject, later: int
) -> None:
    heard = list({remark.order: remark for remark in heard}.values())
    echoes = data.draw(st.lists(st.sampled_from(heard))) if heard else []
    shuffled = data.draw(st.permutations(heard + echoes))

    one, other = case_of(*heard), case_of(*shuffled)

    assert one.standing(NOW + later) == other.standing(NOW + later)
    assert one.voices() == other.voices()


@given(st.sampled_from([4, 5, 7, 10, 16, 32]), st.data())
def test_f_liars_and_m_mistaken_never_quarantine_anybody(
    members: int, data: st.DataObject
) -> None:
    """Whatever they say, however often, with whatever stamps, at full weight."""
    thresholds = Thresholds(members=members)
    liars = data.draw(
        st.lists(
            st.builds(
                voice,
                st.integers(1, thresholds.f + thresholds.m),
                offsets.map(lambda d: NOW + d),
                st.integers(1, 9),
                st.integers(0, 9),
                st.just(MICRO),
            ),
            max_size=60,
        )
    )
    case = case_of(*liars, members=members)

    for at in (NOW, NOW + HALF_LIFE_MS, *(v.at_ms for v in liars)):
        assert case.standing(at).level is not Level.QUARANTINED


@given(
    st.sampled_from([4, 5, 7, 10, 16, 32, 128]),
    st.lists(st.integers(0, MINUTE), min_size=90, max_size=90),
    st.integers(7, 9),
)
def test_2f_plus_1_founders_within_a_minute_always_quarantine(
    members: int, delays: list[int], severity: int
) -> None:
    thresholds = Thresholds(members=members)
    said = [
        voice(n + 1, NOW + delays[n], severity) for n in range(2 * thresholds.f + 1)
    ]

    standing = case_of(*said, members=members).standing(NOW + MINUTE)

    assert standing.level is Level.QUARANTINED
    assert standing.basis is Basis.VOICES


def test_below_four_nodes_voices_convict_nobody_and_proofs_still_do() -> None:
    three = case_of(voice(1), voice(2), voice(3), members=3)
    assert three.standing(NOW).level is Level.WATCH

    three.hear(proof(offence=5))
    assert three.standing(NOW).level is Level.QUARANTINED


def test_one_proof_is_enough_and_its_echoes_change_nothing() -> None:
    once = case_of(proof(reporter=1)).standing(NOW)
    echoed = case_of(proof(reporter=1), proof(reporter=2), proof(reporter=3))

    assert once.level is Level.QUARANTINED
    assert once.basis is Basis.PROOF
    assert echoed.standing(NOW) == once


def test_a_quarantine_by_proof_ends_exactly_when_it_said_it_would() -> None:
    case = case_of(proof())
    until = case.standing(NOW).until_ms
    assert until is not None
    assert until - NOW == pytest.approx(TERM_MS, rel=0.1)

    assert case.standing(until - 1).level is Level.QUARANTINED
    assert case.standing(until).level is Level.CLEAR


def test_a_quarantine_by_voices_also_waits_until_they_fade() -> None:
    case = case_of(*(voice(n) for n in range(1, 5)))
    standing = case.standing(NOW)
    until = standing.until_ms
    assert until is not None

    assert until - NOW > TERM_MS * 1.1
    assert case.standing(until - 1000).level is Level.QUARANTINED
    after = case.standing(until)
    assert after.level is not Level.QUARANTINED
    assert after.sum_micro * 2 <= Thresholds(members=5).threshold


def test_a_release_ends_it_at_once_and_an_old_offence_cannot_bring_it_back() -> None:
    case = case_of(proof(), release(NOW + MINUTE))
    assert case.standing(NOW + MINUTE).level is Level.CLEAR

    stockpiled = attrs.evolve(
        proof(at=NOW + 10 * MINUTE, offence=7), committed_at_ms=NOW - 5 * MINUTE
    )
    case.hear(stockpiled)
    assert case.standing(NOW + 10 * MINUTE).level is Level.CLEAR

    case.hear(proof(at=NOW + 11 * MINUTE, offence=8))
    assert case.standing(NOW + 11 * MINUTE).level is Level.QUARANTINED


def test_terms_double_and_a_clean_day_forgives_one() -> None:
    case = Case.of(SUBJECT, Thresholds(members=5))
    at, lengths = NOW, []
    for n in range(4):
        case.hear(proof(at=at, offence=n))
        until = case.standing(at).until_ms
        assert until is not None
        lengths.append((until - at) / TERM_MS)
        at = until + 1
    assert lengths == [
        pytest.approx(1, rel=0.11),
        pytest.approx(2, rel=0.11),
        pytest.approx(4, rel=0.11),
        pytest.approx(8, rel=0.11),
    ]

    at += 2 * 86_400_000
    case.hear(proof(at=at, offence=9))
    assert case.standing(at).times == 3


@given(st.integers(1, 60))
def test_no_term_is_longer_than_a_day_and_a_tenth(times: int) -> None:
    assert TERM_MS * 0.9 <= term_ms(SUBJECT, times) <= TERM_MS_MAX * 1.1


@given(voices, offsets)
def test_a_voice_is_never_worth_more_than_one_and_only_fades(
    one: Voice, later: int
) -> None:
    at = NOW + later

    assert 0 <= one.micro(at + MINUTE) <= one.micro(at) <= MICRO


def test_one_reporter_cannot_make_a_case_grow() -> None:
    case = case_of(*(voice(1, NOW + n, number=n) for n in range(500)))

    assert len(case.remarks()) == 64
    assert len(case.voices()) == 1


def test_a_voice_stamped_ahead_does_not_let_time_pass_for_a_convict() -> None:
    """A fast clock, or a friend of the convict: its term lasts to its end."""
    case = case_of(proof())
    until = case.standing(NOW).until_ms
    assert until is not None
    for n in range(5):
        case.hear(voice(2, until - 1_000 + 120_000, severity=1, number=n))

    assert case.standing(until - 1).level is Level.QUARANTINED


def test_who_tells_two_stories_is_out_until_operators_release_it() -> None:
    """However long ago it says that it told them."""
    told = attrs.evolve(
        proof(at=NOW - 40 * 86_400_000), dated=False, key_ends_ms=NOW - 38 * 86_400_000
    )
    case = case_of(told)
    assert case.standing(NOW).level is Level.QUARANTINED

    case.hear(release(NOW + 1))
    assert case.standing(NOW + 1).level is not Level.QUARANTINED
    case.hear(attrs.evolve(told, order=(NOW + MINUTE, node(4), b"i", 7, 0)))
    assert case.standing(NOW + MINUTE).level is not Level.QUARANTINED
