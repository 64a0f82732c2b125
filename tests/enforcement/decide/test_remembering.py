"""How much of what is said the court holds: bounded, shared, the newest of each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.decide import docket as dockets
from enforcement.decide.case import Case, Level, Voice
from enforcement.decide.docket import Docket
from enforcement.decide.thresholds import Census, Thresholds
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import NodeId, UnixMs
from tests.support.courts import Feeds, court

NOW = 1_800_000_000_000
AT = UnixMs(NOW)
MOST = 200
CHATTY, QUIET = NodeId(b"c" * 32), NodeId(b"q" * 32)


@pytest.fixture
def docket(monkeypatch: pytest.MonkeyPatch) -> Docket:
    monkeypatch.setattr(dockets, "VOICES_MAX", 2 * MOST)
    monkeypatch.setattr(dockets, "VOICES_PER_REPORTER_MIN", 20)
    return Docket(Census.of(Thresholds(members=7, colluders=2)))


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
    census = Census.of(Thresholds(members=7, colluders=0))
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


@pytest.mark.parametrize("kind", [SubjectKind.ARTEFACT, SubjectKind.SESSION])
def test_no_flood_of_cases_lets_anything_go_that_voices_cut_off(
    kind: SubjectKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the liars', nor one that they provoke an honest witness to."""
    monkeypatch.setattr("enforcement.decide.docket.CASES_MAX", 50)
    feeds, judge = Feeds(), court()
    poisoned = Subject(kind, b"p" * 32)
    for name in ("birch", "cedar", "elm"):
        judge.hear(feeds.accuse(name, poisoned), AT)
    before = judge.standing(poisoned, UnixMs(NOW + 1_000))
    assert before.level is Level.QUARANTINED
    for n in range(200):
        for name in ("fir", "birch"):
            judge.hear(
                feeds.accuse(
                    name, agent(n if name == "fir" else 1_000 + n), NOW - 1_000
                ),
                AT,
            )
    assert judge.standing(poisoned, UnixMs(NOW + 1_000)) == before
    judge.tick(UnixMs(NOW + 1_000))
    judge.hear(feeds.accuse("cedar", poisoned, NOW + 1_001), UnixMs(NOW + 1_001))
    assert judge.denial(poisoned) is not None
    assert len(judge.find("agent:")) <= 2 * 32


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 3, 2)])
def test_floods_change_nothing_for_who_keeps_to_its_share(
    order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dockets, "CASES_MAX", 100)
    feeds, judge, quiet = Feeds(), court(), court()
    said = [
        [feeds.accuse(name, agent(first + n), NOW + n) for n in range(count)]
        for name, first, count in (
            ("birch", 0, 32),
            ("cedar", 500, 90),
            ("elm", 0, 20),
            ("fir", 500, 70),
        )
    ]
    for at in order:
        for entry in said[at]:
            judge.hear(entry, AT)
    for entry in (*said[0], *said[2]):
        quiet.hear(entry, AT)
    now = UnixMs(NOW + 100)
    for n in range(32):
        assert judge.standing(agent(n), now) == quiet.standing(agent(n), now)
        assert quiet.standing(agent(n), now).sum_micro > 0
