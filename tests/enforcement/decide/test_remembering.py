"""How much of what is said the court holds: bounded, shared, the newest of each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.decide import docket as dockets
from enforcement.decide.case import Case, Voice
from enforcement.decide.docket import Docket
from enforcement.decide.rules import Census, Rules
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import NodeId

NOW = 1_800_000_000_000
MOST = 200
CHATTY, QUIET = NodeId(b"c" * 32), NodeId(b"q" * 32)


@pytest.fixture
def docket(monkeypatch: pytest.MonkeyPatch) -> Docket:
    monkeypatch.setattr(dockets, "VOICES_MAX", 2 * MOST)
    monkeypatch.setattr(dockets, "VOICES_PER_REPORTER_MIN", 20)
    return Docket(Census.of(Rules(members=7, colluders=2)))


def agent(number: int) -> Subject:
    return Subject(SubjectKind.AGENT, number.to_bytes(32, "big"))


def say(docket: Docket, reporter: NodeId, number: int, subject: Subject) -> None:
    voice = Voice(
        order=(NOW + number, reporter, b"i" * 16, number, 0),
        reporter=reporter,
        category="x",
        severity=3,
        weight_ppm=900_000,
    )
    docket.voice(subject, voice)


def held(docket: Docket, reporter: NodeId) -> dict[Subject, list[int]]:
    """The numbers of what is held of a reporter, by subject."""
    found: dict[Subject, list[int]] = {}
    for subject, case in docket.cases.items():
        for remark in case.remarks():
            if isinstance(remark, Voice) and remark.reporter == reporter:
                found.setdefault(subject, []).append(remark.order[3])
    return found


def test_who_never_stops_talking_is_remembered_for_its_last_words(
    docket: Docket,
) -> None:
    for number in range(60):
        say(docket, QUIET, number, agent(number % 10))
    for number in range(5_000):
        say(docket, CHATTY, number, agent(number % 10))
    of_chatty = held(docket, CHATTY)
    assert sum(map(len, of_chatty.values())) <= MOST + 10
    assert sorted(n for told in of_chatty.values() for n in told)[-100:] == [
        *range(4_900, 5_000)
    ]
    assert sum(map(len, held(docket, QUIET).values())) == 60


def test_the_last_word_about_each_is_never_crowded_out(docket: Docket) -> None:
    say(docket, CHATTY, 0, agent(99))
    for number in range(1, 5_000):
        say(docket, CHATTY, number, agent(number % 10))
    assert held(docket, CHATTY)[agent(99)] == [0]
    assert docket.cases[agent(99)].standing(NOW + 5_000).sum_micro > 0


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(1, 9)),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 5),
)
def test_forgetting_is_as_if_only_the_rest_had_been_said(
    said: list[tuple[int, int, int]], newest: int
) -> None:
    census = Census.of(Rules(members=7, colluders=0))
    case, rest = Case(agent(1), census), Case(agent(1), census)
    voices = [
        Voice(
            order=(NOW + 60_000 * minute, bytes([who]) * 32, b"i" * 16, number, 0),
            reporter=NodeId(bytes([who]) * 32),
            category="x",
            severity=severity,
            weight_ppm=900_000,
        )
        for number, (who, minute, severity) in enumerate(said)
    ]
    for voice in voices:
        case.hear(voice)
    case.standing(NOW + 60_000 * 41)  # folded before anything is forgotten
    for who in range(4):
        case.forget(NodeId(bytes([who]) * 32), newest)
    for remark in case.remarks():
        rest.hear(remark)
    for later in (41, 60, 600):
        at = NOW + 60_000 * later
        assert case.standing(at) == rest.standing(at)
