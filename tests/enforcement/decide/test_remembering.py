"""How much of what is said the court holds: bounded, shared, the newest of each."""

import pytest

from enforcement.decide import docket as dockets
from enforcement.decide.case import Voice
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
