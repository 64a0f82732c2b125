"""Who heard the same comes to the same standings, in whatever order it came."""

from itertools import permutations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcement.decide.acts import FalsePositive, write_false_positive, write_release
from enforcement.decide.case import Level, Standing
from enforcement.decide.court import Court, Offence
from gossip.ledger.appeals import Retraction, write_retraction
from gossip.ledger.entries import Entry, EntryKind, ProofKind, Subject, SubjectKind
from gossip.membership.founders import ActKind
from gossip.units import EntryId, Incarnation, UnixMs
from tests.support.courts import (
    DAY,
    INCARNATION,
    MINUTE,
    ROSTER,
    SUITE,
    Feeds,
    node,
    subject,
)
from tests.support.forks import fork
from tests.support.members import NOW

ELM, FIR = subject("elm"), subject("fir")
AGENTS = [Subject(SubjectKind.AGENT, bytes([n]) * 32) for n in range(6)]
SESSION = Subject(SubjectKind.SESSION, b"s" * 32)
OTHER_FEED = Incarnation(b"j" * 16)
START = NOW - NOW % (5 * MINUTE) + 5 * MINUTE
"""Where a spell of the deeds begins."""
NOW_THEN = UnixMs(START + 40 * MINUTE)


def shown(rule: str, agent: int, at: int) -> bytes:
    return f"{rule} {agent} {at}".encode()


def read_proof(data: bytes) -> Offence:
    """The bytes say which rule, whose agent of elm, and when."""
    rule, agent, at = data.decode().split()
    return Offence(
        convicts=(AGENTS[int(agent)], ELM),
        request_id=f"{agent} {at}".encode().ljust(32, b"."),
        rule=rule,
        severity=8,
        committed_at_ms=UnixMs(int(at)),
    )


def elsewhere(entry: Entry, number: int = 0) -> Entry:
    """The same, said in another feed of its author."""
    return attrs.evolve(
        entry,
        incarnation=OTHER_FEED,
        number=number,
        id=EntryId(entry.author[:31] + bytes([number])),
    )


def strike(
    feeds: Feeds, what: Entry, about: str, at: int, whom: Subject = ELM
) -> Entry:
    found = FalsePositive(
        place=what.place,
        subject=whom,
        about=about,
        until_ms=UnixMs(at + 15 * MINUTE),
        owner="ops-0",
        reason="the rule was wrong",
        refutes=False,
    )
    payload = write_false_positive(found)
    return feeds.decide("ash", ActKind.FALSE_POSITIVE, payload, at)


def forked(feeds: Feeds, name: str, number: int, at: int, feed: bytes) -> Entry:
    proof = fork(name, number=number, at=at, incarnation=feed)
    kind = ProofKind.EQUIVOCATION
    return feeds.accuse("birch", subject(name), at, proof=proof, kind=kind)


def standings(heard: list[Entry], at: int) -> dict[Subject, Standing]:
    judge = Court(node("ash"), ROSTER, SUITE, read_proof)
    for entry in heard:
        judge.hear(entry, NOW_THEN)
    return {
        whom: judge.standing(whom, UnixMs(at)) for whom in (ELM, FIR, SESSION, *AGENTS)
    }


def levels(heard: list[Entry], at: int = NOW_THEN) -> list[Level]:
    return [standing.level for standing in standings(heard, at).values()]


def test_what_operators_excuse_a_node_for_they_excuse_all_its_agents_for() -> None:
    """Ten proofs in one spell, of which its case need not hold all."""
    feeds = Feeds()
    proofs = [
        feeds.accuse("birch", ELM, START + 9, proof=shown("r", n % 6, START + n // 6))
        for n in range(10)
    ]
    act = strike(feeds, proofs[0], "r", START - 1)
    for said in ([*proofs, act], [act, *proofs]):
        assert set(levels(said, START + MINUTE)) == {Level.CLEAR}


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_what_is_struck_takes_no_place_of_what_another_rule_forbids(
    order: tuple[int, ...],
) -> None:
    feeds, at = Feeds(), START + 10
    wrong = [
        feeds.accuse("birch", ELM, at, proof=shown("wrong", 0, START + n))
        for n in (1, 2, 4, 5)
    ]
    right = feeds.accuse("cedar", ELM, at, proof=shown("right", 0, START + 3))
    act = strike(feeds, wrong[0], "wrong", START - 1)
    said = (wrong, [right], [act])
    standing = standings([e for n in order for e in said[n]], at + 1)[ELM]
    assert standing.conviction is not None
    assert standing.conviction.rule == "right"


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_one_request_that_two_rules_forbid_is_excused_by_the_one_alone(
    order: tuple[int, ...],
) -> None:
    feeds = Feeds()
    wrong = feeds.accuse("birch", ELM, START + 2, proof=shown("wrong", 0, START + 1))
    right = feeds.accuse("cedar", ELM, START + 3, proof=shown("right", 0, START + 1))
    act = strike(feeds, feeds.accuse("birch", ELM, START), "wrong", START - 1)
    said = (wrong, right, act)
    standing = standings([said[n] for n in order], START + MINUTE)[ELM]
    assert (standing.since_ms, standing.times) == (START + 3, 1)


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_a_story_that_is_struck_is_struck_by_whatever_pair_it_is_told(
    order: tuple[int, ...],
) -> None:
    feeds, later = Feeds(), START + 20 * MINUTE
    one = forked(feeds, "elm", 0, START, INCARNATION)
    two = forked(feeds, "elm", 0, later, INCARNATION)
    said = (one, two, strike(feeds, two, "equivocation", START + 10 * MINUTE))
    assert levels([said[n] for n in order])[0] is Level.CLEAR


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_who_tells_in_two_feeds_and_forks_one_has_told_in_the_other(
    order: tuple[int, ...],
) -> None:
    feeds, proof = Feeds(), shown("r", 0, START)
    said = (
        feeds.accuse("fir", ELM, START, proof=proof),
        elsewhere(feeds.accuse("fir", ELM, START + 4 * MINUTE, proof=proof)),
        forked(feeds, "fir", 0, START + 5 * MINUTE, INCARNATION),
    )
    standing = standings([said[n] for n in order], START + 6 * MINUTE)[ELM]
    assert standing.since_ms == START + 4 * MINUTE


@pytest.mark.parametrize("order", [*permutations(range(4))])
def test_a_word_taken_back_twice_is_taken_back_where_no_fork_is(
    order: tuple[int, ...],
) -> None:
    feeds = Feeds()
    word = feeds.accuse("fir", SESSION, START)
    said = [word, *(take_back(feeds, word) for _ in range(2))]
    said.append(forked(feeds, "fir", 2, START + MINUTE, INCARNATION))
    assert set(levels([said[n] for n in order])[2:]) == {Level.CLEAR}


def take_back(feeds: Feeds, word: Entry) -> Entry:
    body = write_retraction(
        Retraction(
            subject=SESSION,
            incarnation=word.incarnation,
            number=word.number,
            index=0,
            reason="x",
        )
    )
    return feeds.say("fir", EntryKind.RETRACTION, body, START + 1_000)


spans = st.integers(0, 12).map(lambda n: START + n * 30_000)


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    """What a court may hear of elm, its agents and fir, who tells and forks."""
    feeds = Feeds()
    said: list[Entry] = []
    for _ in range(draw(st.integers(1, 14))):
        match draw(st.integers(0, 8)):
            case 0 | 1 | 2:
                at, rule = draw(spans), draw(st.sampled_from("rq"))
                proof = shown(rule, draw(st.integers(0, 5)), at)
                by = draw(st.sampled_from(["fir", "cedar"]))
                said.append(feeds.accuse(by, ELM, at + 1, proof=proof))
            case 3 if said:
                again = draw(st.sampled_from(said))
                if again.kind == EntryKind.REPORT:
                    later = UnixMs(
                        again.issued_at_ms + draw(st.integers(0, 3)) * 20_000
                    )
                    told = elsewhere(again, len(said))
                    said.append(attrs.evolve(told, issued_at_ms=later))
            case 4:
                word = feeds.accuse("fir", SESSION, draw(spans))
                said += [word, *(take_back(feeds, word) for _ in range(2))]
            case 5:
                feed = draw(st.sampled_from([INCARNATION, OTHER_FEED]))
                number, at = draw(st.integers(0, 12)), draw(spans)
                said.append(forked(feeds, "fir", number, at, feed))
            case 6 | 7 if said:
                what, whom = draw(st.sampled_from(said)), draw(st.sampled_from([0, 1]))
                about = draw(st.sampled_from(["r", "q", "equivocation", "rate-abuse"]))
                about_whom = (ELM, AGENTS[0])[whom]
                said.append(strike(feeds, what, about, draw(spans), about_whom))
            case 8:
                free = write_release(ELM, "mended")
                said.append(feeds.decide("ash", ActKind.RELEASE, free, draw(spans)))
    return said


@settings(max_examples=120)
@given(entries(), st.data())
def test_equal_sets_give_equal_standings_whatever_is_struck_forked_or_taken_back(
    said: list[Entry], data: st.DataObject
) -> None:
    echoes = data.draw(st.lists(st.sampled_from(said), max_size=4)) if said else []
    other = data.draw(st.permutations(said + echoes))
    for at in (START + MINUTE, START + 6 * MINUTE, NOW_THEN, START + DAY):
        assert standings(said, at) == standings(other, at)
