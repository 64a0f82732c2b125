"""A convict, and any friend of it, can prove more against it: that never helps it."""

from unittest import mock

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcement.decide import deeds
from enforcement.decide.acts import write_release
from enforcement.decide.case import (
    Basis,
    Case,
    Conviction,
    Level,
    Release,
    Remark,
    Voice,
)
from enforcement.decide.court import Court, Offence
from enforcement.decide.story import tell
from enforcement.decide.terms import UNENDING_MS
from enforcement.decide.thresholds import Thresholds
from gossip.ledger.entries import ProofKind, Subject, SubjectKind
from gossip.membership.founders import ActKind
from gossip.units import NodeId, UnixMs
from tests.support.courts import (
    AGENT,
    DAY,
    MINUTE,
    ROSTER,
    SUITE,
    Feeds,
    court,
    node,
    subject,
)
from tests.support.forks import fork
from tests.support.members import NOW

ELM = subject("elm")
SUBJECT = Subject(SubjectKind.NODE, b"s" * 32)


def proof(
    at: int, number: int, *, dated: bool = True, late: int = 0, by: int = 1
) -> Conviction:
    """A deed of ``at``, told ``late`` ms afterwards."""
    who = NodeId(bytes([by]) * 32)
    return Conviction(
        order=(at + late, who, b"i", number, 0),
        reporter=who,
        offence=bytes([number % 256]) * 16,
        rule="ledger-writes",
        severity=8,
        committed_at_ms=at,
        dated=dated,
        key_ends_ms=at,
    )


def voice(at: int, by: int, number: int) -> Voice:
    who = NodeId(bytes([by]) * 32)
    return Voice(
        order=(at, who, b"i", number, 0),
        reporter=who,
        category="x",
        severity=9,
        weight_ppm=900_000,
    )


def release(at: int, number: int, pardons: frozenset[int] = frozenset()) -> Release:
    act = bytes([number % 256]) * 32
    return Release(
        order=(at, act, b"", 0, 0),
        act=act,
        signers=("ops-0",),
        reason="drill",
        pardons=frozenset(bytes([n]) * 16 for n in pardons),
    )


def case_of(remarks: list[Remark]) -> Case:
    case = Case.of(SUBJECT, Thresholds(members=5))
    for remark in remarks:
        case.hear(remark)
    return case


minutes = st.integers(0, 60).map(lambda n: NOW + n * MINUTE) | st.integers(
    0, 3 * DAY
).map(lambda n: NOW + n)
proofs = st.builds(
    proof,
    minutes,
    st.integers(0, 9),
    dated=st.sampled_from([True, True, True, False]),
    late=st.integers(0, 10 * MINUTE),
    by=st.integers(1, 4),
)
remarks = (
    proofs
    | st.builds(proof, minutes, st.integers(0, 9))
    | st.builds(voice, minutes, st.integers(1, 5), st.integers(0, 99))
    | st.builds(release, minutes, st.integers(0, 99), st.frozensets(st.integers(0, 9)))
)


@settings(max_examples=400)
@given(st.lists(remarks, max_size=25), proofs, st.lists(minutes, max_size=20))
def test_one_proof_more_wherever_in_the_past_never_lets_anybody_out(
    heard: list[Remark], more: Conviction, times: list[int]
) -> None:
    """But for an echo: the beginning is the first that it was told, see 0032."""
    told = {deeds.deed(r) for r in heard if isinstance(r, Conviction)}
    if deeds.deed(more) in told:
        more = attrs.evolve(more, offence=b"another")
    with mock.patch.object(deeds, "PER_SPELL_MAX", 64):
        before, after = case_of(heard), case_of([*heard, more])
        for at in (*times, *(r.order[0] + 5 * MINUTE for r in heard)):
            was, now = before.standing(at), after.standing(at)
            assert now.times >= was.times
            if was.level is Level.QUARANTINED:
                assert now.level is Level.QUARANTINED
            if was.basis is Basis.PROOF:
                assert now.basis is Basis.PROOF
                assert was.until_ms is not None
                assert now.until_ms is not None
                assert now.until_ms >= was.until_ms


@settings(max_examples=300)
@given(st.lists(remarks, max_size=40), st.data(), st.lists(minutes, max_size=10))
def test_any_order_and_any_echoes_give_the_same_standing(
    heard: list[Remark], data: st.DataObject, times: list[int]
) -> None:
    heard = list({remark.order: remark for remark in heard}.values())
    echoes = data.draw(st.lists(st.sampled_from(heard))) if heard else []
    one = case_of(heard)
    other = case_of(data.draw(st.permutations(heard + echoes)))
    with mock.patch.object(deeds, "SPELLS_MAX", 3):
        few = case_of(heard)
        few_other = case_of(data.draw(st.permutations(heard + echoes)))
    for at in times:
        assert one.standing(at) == other.standing(at)
        assert few.standing(at) == few_other.standing(at)


def test_a_burst_is_one_step_and_ends_a_term_after_its_last() -> None:
    case = case_of([proof(NOW + n * 60_000, n) for n in range(4)])
    last = NOW + 3 * MINUTE
    standing = case.standing(last)
    alone = case_of([proof(last, 3)]).standing(last)
    assert (standing.times, standing.until_ms) == (1, alone.until_ms)


# In court


def accuse_fork(
    feeds: Feeds, judge: Court, by: str, at: int, name: str = "elm"
) -> None:
    judge.hear(
        feeds.accuse(
            by,
            subject(name),
            at,
            proof=fork(name),
            category="equivocation",
            kind=ProofKind.EQUIVOCATION,
        ),
        UnixMs(at),
    )


def case_in(judge: Court, whom: Subject) -> Case:
    case = judge.case(whom)
    assert case is not None
    return case


def out_for(judge: Court, now: int) -> int:
    standing = judge.standing(ELM, UnixMs(now))
    return standing.until_ms - now if standing.until_ms else 0


@pytest.mark.parametrize("by", ["elm", "birch"])
def test_a_convict_that_proves_an_older_request_serves_its_whole_term(by: str) -> None:
    feeds, judge = Feeds(), court()
    judge.hear(feeds.accuse("ash", AGENT, NOW, proof=b"p%d" % NOW), NOW)
    term = out_for(judge, NOW)
    for back in (term - 2_000, term // 2, MINUTE):
        early = NOW - back
        judge.hear(feeds.accuse(by, AGENT, early, proof=b"p%d" % early), NOW)
    assert out_for(judge, NOW) >= term
    assert judge.standing(ELM, UnixMs(NOW + term - 1)).level is Level.QUARANTINED


def test_an_older_request_of_the_same_id_is_no_echo() -> None:
    """Who signs a request chooses its id."""

    def read(data: bytes) -> Offence:
        at = UnixMs(int(data))
        return Offence(
            convicts=(ELM,),
            request_id=b"o" * 16,
            rule="ledger-writes",
            severity=8,
            committed_at_ms=at,
        )

    judge = Court(node("ash"), ROSTER, SUITE, read)
    feeds = Feeds()
    judge.hear(feeds.accuse("ash", ELM, NOW, proof=b"%d" % NOW), NOW)
    term = out_for(judge, NOW)
    early = NOW - term + 2_000
    judge.hear(feeds.accuse("birch", ELM, early, proof=b"%d" % early), NOW)
    assert out_for(judge, NOW) == term


@pytest.mark.parametrize("decoy_first", [True, False])
def test_no_decoy_gives_an_end_to_who_told_two_stories(decoy_first: bool) -> None:
    feeds, judge = Feeds(), court()
    decoy = feeds.accuse("birch", AGENT, NOW - 1_000, proof=b"p%d" % (NOW - 1_000))
    if decoy_first:
        judge.hear(decoy, NOW)
    accuse_fork(feeds, judge, "ash", NOW)
    judge.hear(decoy, NOW)
    standing = judge.standing(ELM, UnixMs(NOW + 300 * DAY))
    assert standing.until_ms == UNENDING_MS
    assert standing.conviction is not None
    assert not standing.conviction.dated
    headline = tell(judge, ELM, "elm", UnixMs(NOW + 1)).sentences[0]
    assert headline.startswith("elm is quarantined until operators release it")
    assert judge.denial(ELM) is not None
    # Nor has it a voice before operators let it go.
    assert judge.weight_ppm(node("elm"), UnixMs(NOW + 30 * DAY)) == 0
    free = write_release(ELM, "mended", case_in(judge, ELM).stories())
    judge.hear(
        feeds.decide("ash", ActKind.RELEASE, free, NOW + MINUTE), UnixMs(NOW + MINUTE)
    )
    assert judge.denial(ELM) is None


def test_echoes_and_further_proofs_push_no_fork_out_and_stay_bounded() -> None:
    feeds, judge = Feeds(), court()
    accuse_fork(feeds, judge, "ash", NOW)
    for n in range(400):
        echo = b"p%d" % (NOW + MINUTE)
        judge.hear(feeds.accuse("birch", AGENT, NOW + MINUTE + n, proof=echo), NOW)
    case = judge.case(ELM)
    assert case is not None
    assert len(case.remarks()) == 2
    for n in range(400):
        judge.hear(feeds.accuse("birch", AGENT, NOW + n, proof=b"p%d" % (NOW + n)), NOW)
    assert len(case.remarks()) <= 2 + 2 * deeds.PER_SPELL_MAX
    assert judge.standing(ELM, UnixMs(NOW + 30 * DAY)).level is Level.QUARANTINED


def test_a_flood_of_own_proofs_takes_no_step_back() -> None:
    """It had come to hours: five hundred fresh proofs do not make it five minutes."""
    feeds, judge = Feeds(), court()
    at: int = NOW
    for _ in range(6):
        judge.hear(feeds.accuse("ash", AGENT, at, proof=b"p%d" % at), UnixMs(at))
        last, at = at, at + out_for(judge, at) + 1
    end = at - 1
    for n in range(1, 500):
        when = last + n
        judge.hear(feeds.accuse("birch", AGENT, when, proof=b"p%d" % when), UnixMs(at))
    assert judge.standing(ELM, UnixMs(end - 1)).level is Level.QUARANTINED
    assert judge.standing(ELM, UnixMs(last + 500)).times == 6


def test_what_voices_decided_no_proof_of_ones_own_ends() -> None:
    said: list[Remark] = [voice(NOW + n * 1_000, n, n) for n in range(1, 5)]
    until = case_of(said).standing(NOW + MINUTE).until_ms
    assert until is not None
    for at in (NOW - 4 * MINUTE, NOW, NOW + 2 * MINUTE):
        case = case_of([*said, proof(at, 9)])
        assert case.standing(until - 1_000).level is Level.QUARANTINED


def test_nobody_takes_back_a_proof_by_telling_two_stories_itself() -> None:
    feeds, judge = Feeds(), court()
    feeds.say("birch", 200, b"")
    judge.hear(feeds.accuse("birch", AGENT, NOW, proof=b"p%d" % NOW), NOW)
    accuse_fork(feeds, judge, "birch", NOW)
    term = judge.standing(AGENT, NOW)
    judge.hear(feeds.accuse("birch", subject("fir"), NOW), NOW)
    accuse_fork(feeds, judge, "ash", NOW + 1, name="birch")
    assert judge.standing(AGENT, NOW) == term
    assert judge.standing(ELM, UnixMs(NOW + DAY)).level is Level.QUARANTINED
    case = judge.case(subject("fir"))  # its mere word is void
    assert case is not None
    assert not case.remarks()


@pytest.mark.parametrize("proven_first", [True, False])
def test_a_forked_feeds_proofs_hold_and_its_words_do_not_in_either_order(
    proven_first: bool,
) -> None:
    feeds, judge = Feeds(), court()
    shown = feeds.accuse("birch", AGENT, NOW, proof=b"p")
    word = feeds.accuse("birch", subject("fir"), NOW)
    if proven_first:
        judge.hear(shown, NOW)
        judge.hear(word, NOW)
    accuse_fork(feeds, judge, "ash", NOW, name="birch")
    if not proven_first:
        judge.hear(word, NOW)
        judge.hear(shown, NOW)
    assert judge.denial(AGENT) is not None
    assert judge.standing(subject("fir"), NOW).level is Level.CLEAR
