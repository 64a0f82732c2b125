"""What watchers are told, and that nobody ever waits for them."""

from collections.abc import AsyncGenerator

import pytest
import trio
from trio.testing import MockClock

from enforcement.decide.case import Basis, Level, Standing
from enforcement.decide.court import Allow, Court, Deny, LookAgain, StandingChanged
from gossip.errors import PeerError
from gossip.ledger.entries import (
    Entry,
    EntryKind,
    Report,
    Subject,
    SubjectKind,
    Witness,
)
from gossip.units import EntryId, Incarnation, UnixMs
from node.jsonlines import Json
from node.watch import QUIET_S, WAITING_MAX, Watchers
from tests.support.births import SUITE
from tests.support.sessions import Town

TOWN = Town()
BRANCH = Subject(SubjectKind.NODE, TOWN.branch.node)
OUT = Standing(level=Level.QUARANTINED, basis=Basis.PROOF)


@pytest.fixture
def watchers() -> Watchers:
    court = Court(
        me=TOWN.ledger.node,
        roster=TOWN.roster,
        suite=SUITE,
        read_proof=lambda data: None,
    )
    return Watchers(court, now_us=lambda: 7)


async def begun(watchers: Watchers) -> AsyncGenerator[Json, None]:
    watching = watchers.watch()
    assert await anext(watching) == {"event": "watching", "at_us": 7}
    return watching


async def test_rulings_are_told_with_name_and_time(watchers: Watchers) -> None:
    watching = await begun(watchers)

    watchers.ruled(Deny(BRANCH, OUT), 5)
    watchers.ruled(StandingChanged(BRANCH, Standing(level=Level.CLEAR), OUT), 5)
    watchers.ruled(Allow(BRANCH), 5)

    told = {"at_us": 5, "subject": str(BRANCH), "name": "node branch"}
    assert await anext(watching) == {
        "event": "deny",
        "basis": "proof",
        "until_ms": None,
        "why": "by a proof",
        **told,
    }
    assert await anext(watching) == {
        "event": "standing",
        "was": "clear",
        "standing": "quarantined",
        **told,
    }
    assert await anext(watching) == {"event": "allow", **told}
    await watching.aclose()


async def test_a_report_is_told_with_its_class_and_without_its_evidence(
    watchers: Watchers,
) -> None:
    watching = await begun(watchers)
    now = UnixMs(1)
    seen = Witness(digest=b"d" * 32, count=1, first_ms=now, last_ms=now)
    report = Report(subject=BRANCH, category="rate-abuse", severity=7, evidence=seen)
    entry = Entry(
        id=EntryId(b"e" * 32),
        author=TOWN.other.node,
        incarnation=Incarnation(b"i" * 16),
        number=0,
        index=0,
        issued_at_ms=now,
        kind=EntryKind.REPORT,
        body=b"",
    )

    watchers.heard(entry, report, at_us=5)

    assert await anext(watching) == {
        "event": "report",
        "at_us": 5,
        "subject": str(BRANCH),
        "name": "node branch",
        "id": (b"e" * 32).hex(),
        "reporter": "other",
        "category": "rate-abuse",
        "severity": 7,
        "class": "witness",
    }
    await watching.aclose()


async def test_silence_is_told_too(
    watchers: Watchers, autojump_clock: MockClock
) -> None:
    watching = await begun(watchers)
    before = trio.current_time()

    assert await anext(watching) == {"event": "quiet", "at_us": 7}

    assert trio.current_time() - before == pytest.approx(QUIET_S)
    watchers.ruled(LookAgain(UnixMs(1)), 7)
    assert await anext(watching) == {"event": "quiet", "at_us": 7}
    await watching.aclose()


async def test_who_does_not_keep_up_is_hung_up_on_and_others_go_on(
    watchers: Watchers,
) -> None:
    slow, quick = await begun(watchers), await begun(watchers)

    for _ in range(WAITING_MAX + 1):
        watchers.ruled(Allow(BRANCH), 7)
        await anext(quick)

    with pytest.raises(PeerError, match="did not keep up"):
        async for _ in slow:
            pass
    await quick.aclose()


async def test_who_left_is_forgotten(watchers: Watchers) -> None:
    watching = await begun(watchers)

    await watching.aclose()

    assert not watchers._open
