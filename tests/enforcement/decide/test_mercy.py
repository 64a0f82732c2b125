"""What operators hold back: by quorum, for a while, and never by replay."""

from itertools import permutations

import pytest

from enforcement.decide.acts import (
    Allowed,
    FalsePositive,
    write_allow,
    write_false_positive,
    write_release,
    write_stand_down,
)
from enforcement.decide.case import Level
from enforcement.decide.court import (
    AcceptLink,
    Allow,
    Deny,
    Disbelieved,
    HeldBack,
    LookAgain,
    RefuseLink,
)
from enforcement.decide.quarantine import Withheld
from enforcement.decide.story import tell
from gossip.ledger.entries import Report, Subject, Witness
from gossip.membership.founders import ActKind
from gossip.units import UnixMs
from gossip.wire import Value
from tests.support.courts import AGENT, DAY, MINUTE, Feeds, court, node, subject
from tests.support.members import NOW


def allow(until: int, whom: Subject = AGENT) -> list[Value]:
    return write_allow(Allowed(subject=whom, until_ms=UnixMs(until), reason="a drill"))


def test_the_allow_list_holds_a_proof_back_and_ends_by_itself() -> None:
    feeds, judge = Feeds(), court()
    judge.hear(feeds.accuse("birch", AGENT, proof=b"p"), NOW)
    end = NOW + 2 * MINUTE
    rulings = judge.hear(feeds.decide("ash", ActKind.ALLOW, allow(end)), NOW)
    assert Allow(AGENT) in rulings
    assert HeldBack(AGENT, Withheld.ALLOWED) in rulings
    assert judge.standing(AGENT, NOW).level is Level.QUARANTINED
    assert judge.denial(subject("elm")) is not None, "only who is on the list"
    assert any(isinstance(r, LookAgain) and r.at_ms <= end for r in rulings)
    rulings = judge.tick(UnixMs(end))
    assert any(isinstance(r, Deny) and r.subject == AGENT for r in rulings)


def test_the_last_version_of_an_act_counts_in_whatever_order_they_come() -> None:
    feeds = Feeds()
    first = feeds.decide("ash", ActKind.ALLOW, allow(NOW + DAY), NOW)
    ended = feeds.decide("ash", ActKind.ALLOW, allow(NOW + 1), NOW + 1)
    for order in ((first, ended), (ended, first)):
        judge = court()
        judge.hear(feeds.accuse("birch", AGENT, proof=b"p"), NOW)
        for entry in order:
            judge.hear(entry, UnixMs(NOW + 2))
        assert judge.denial(AGENT) is not None


def test_a_stand_down_suspends_all_that_is_automatic_for_an_hour() -> None:
    feeds, judge = Feeds(), court()
    judge.hear(feeds.accuse("birch", AGENT, proof=b"p"), NOW)
    hour = write_stand_down(UnixMs(NOW + 3 * MINUTE), "we are the fault")
    judge.hear(feeds.decide("fir", ActKind.STAND_DOWN, hour), NOW)
    for by in ("ash", "birch"):
        judge.hear(feeds.accuse(by, subject("fir"), NOW + 1), UnixMs(NOW + 1))
    assert judge.denial(AGENT) is None
    assert judge.denial(subject("fir")) is None
    assert judge.held_back(AGENT) is Withheld.STAND_DOWN
    judge.tick(UnixMs(NOW + 3 * MINUTE))
    assert judge.denial(AGENT) is not None
    assert judge.denial(subject("fir")) is not None


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (ActKind.ALLOW, allow(NOW + 2 * DAY)),
        (ActKind.STAND_DOWN, [NOW + 2 * DAY, "x"]),
        (ActKind.STAND_DOWN, [NOW, "x", 1]),
        (ActKind.ALLOW, [9, AGENT.id, NOW, ""]),
        (ActKind.FALSE_POSITIVE, []),
        (ActKind.RELEASE, None),
    ],
)
def test_an_act_that_asks_for_too_much_or_for_nothing_is_void(
    kind: ActKind, payload: Value
) -> None:
    feeds, judge = Feeds(), court()
    (ruling,) = judge.hear(feeds.decide("ash", kind, payload), NOW)
    assert isinstance(ruling, Disbelieved)


@pytest.mark.parametrize("kind", [ActKind.ALLOW, ActKind.STAND_DOWN, ActKind.RELEASE])
def test_no_member_and_no_lone_operator_can_grant_mercy(kind: ActKind) -> None:
    feeds, judge = Feeds(), court()
    judge.hear(feeds.accuse("birch", AGENT, proof=b"p"), NOW)
    payload: list[Value] = {
        ActKind.ALLOW: allow(NOW + MINUTE),
        ActKind.STAND_DOWN: write_stand_down(UnixMs(NOW + MINUTE), ""),
        ActKind.RELEASE: write_release(AGENT, ""),
    }[kind]
    for signers in ((0,), (7, 8), (0, 0)):
        entry = feeds.decide("elm", kind, payload, signers=signers)
        (ruling,) = judge.hear(entry, NOW)
        assert isinstance(ruling, Disbelieved)
    assert judge.denial(AGENT) is not None


@pytest.mark.parametrize("backdated", [False, True])
def test_an_act_replayed_after_its_expiry_does_nothing(backdated: bool) -> None:
    feeds, judge = Feeds(), court()
    late = NOW + 3 * MINUTE
    payload = allow(NOW + MINUTE)
    replayed = feeds.decide(
        "elm",
        ActKind.ALLOW,
        payload,
        carried_at=NOW if backdated else late,
        life_ms=MINUTE,
    )
    judge.hear(feeds.accuse("birch", AGENT, late, proof=b"p%d" % late), UnixMs(late))
    judge.hear(replayed, UnixMs(late))
    assert judge.denial(AGENT) is not None


def false_positive(feeds: Feeds, *, proof: bytes, until: int) -> tuple[object, object]:
    accused = feeds.accuse("birch", AGENT, proof=proof)
    found = FalsePositive(
        place=accused.place,
        subject=AGENT,
        about="ledger-writes" if proof else "rate-abuse",
        until_ms=UnixMs(until),
        owner="ops-0",
        reason="the rule was wrong",
        refutes=not proof,
    )
    return accused, feeds.decide(
        "ash", ActKind.FALSE_POSITIVE, write_false_positive(found)
    )


@pytest.mark.parametrize("proof", [b"", b"p"])
@pytest.mark.parametrize("act_first", [False, True])
def test_a_false_positive_is_struck_and_the_like_of_it_passes_for_a_while(
    proof: bytes, act_first: bool
) -> None:
    feeds, judge = Feeds(), court()
    pair = false_positive(feeds, proof=proof, until=NOW + 10 * MINUTE)
    for entry in pair[::-1] if act_first else pair:
        judge.hear(entry, NOW)  # type: ignore[arg-type] # a pair of entries
    assert judge.standing(AGENT, NOW).level is Level.CLEAR
    assert judge.standing(subject("elm"), NOW).level is Level.CLEAR
    at = NOW + MINUTE
    again = b"q%d" % at if proof else b""
    judge.hear(feeds.accuse("cedar", AGENT, at, proof=again), UnixMs(at))
    assert judge.standing(AGENT, UnixMs(at)).level is Level.CLEAR
    other = feeds.accuse("cedar", AGENT, at, category="something-else")
    judge.hear(other, UnixMs(at))
    assert judge.standing(AGENT, UnixMs(at)).level is not Level.CLEAR
    over = NOW + 11 * MINUTE
    again = b"r%d" % over if proof else b""
    judge.hear(feeds.accuse("cedar", AGENT, over, proof=again), UnixMs(over))
    level = judge.standing(AGENT, UnixMs(over)).level
    assert level is (Level.QUARANTINED if proof else Level.SUSPECT)


@pytest.mark.parametrize("echoed_ms", [NOW, NOW + MINUTE, NOW + DAY])
@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_a_struck_proof_is_not_revived_by_whoever_tells_it_again(
    order: tuple[int, ...], echoed_ms: int
) -> None:
    """Sooner or later than the first, heard before operators struck that or after."""
    feeds, judge = Feeds(), court()
    told = NOW + 10_000
    shown = feeds.accuse("birch", AGENT, told, proof=b"p")
    found = FalsePositive(
        place=shown.place,
        subject=AGENT,
        about="ledger-writes",
        until_ms=UnixMs(NOW + 2 * DAY),
        owner="ops-0",
        reason="the rule was wrong",
        refutes=False,
    )
    payload = write_false_positive(found)
    said = [
        shown,
        feeds.accuse("cedar", AGENT, echoed_ms, proof=b"p"),
        feeds.decide(
            "ash", ActKind.FALSE_POSITIVE, payload, NOW + 2 * MINUTE, life_ms=3 * DAY
        ),
    ]
    for at in order:
        judge.hear(said[at], UnixMs(NOW + DAY))
    for at in (NOW + 2 * MINUTE, echoed_ms, NOW + DAY):
        assert judge.standing(AGENT, UnixMs(at)).level is Level.CLEAR
        assert judge.standing(subject("elm"), UnixMs(at)).level is Level.CLEAR
    # It spares that one alone.
    other = feeds.accuse("cedar", AGENT, NOW + 1, proof=b"p%d" % (NOW + 1))
    judge.hear(other, UnixMs(NOW + DAY))
    assert judge.standing(AGENT, UnixMs(NOW + 2)).level is Level.QUARANTINED


def test_the_allow_list_overrules_own_evidence_too() -> None:
    feeds, judge = Feeds(), court()
    report = Report(
        subject=subject("fir"),
        category="false-envelope",
        severity=7,
        evidence=Witness(digest=bytes(32), count=1, first_ms=NOW, last_ms=NOW),
    )
    judge.saw(report, NOW)
    assert judge.isolated(node("fir"), NOW)
    payload = allow(NOW + MINUTE, subject("fir"))
    rulings = judge.hear(feeds.decide("ash", ActKind.ALLOW, payload), NOW)
    assert AcceptLink(node("fir")) in rulings
    assert not judge.isolated(node("fir"), NOW)
    rulings = judge.tick(UnixMs(NOW + MINUTE))
    assert any(isinstance(r, RefuseLink) for r in rulings), "its five minutes go on"


def test_a_story_says_what_a_proof_proved_and_what_this_node_saw_itself() -> None:
    feeds, judge = Feeds(), court("ash")
    report = Report(
        subject=subject("fir"),
        category="false-envelope",
        severity=7,
        evidence=Witness(digest=bytes(32), count=1, first_ms=NOW, last_ms=NOW),
    )
    judge.saw(report, NOW)
    told = tell(judge, subject("fir"), "node fir", NOW)
    assert "This node cut it off by itself until" in " ".join(told.sentences)
    assert told.facts["isolated_until_ms"] == NOW + 5 * MINUTE
    judge.hear(feeds.accuse("birch", subject("fir"), proof=b"f"), NOW)
    said = " ".join(tell(judge, subject("fir"), "node fir", NOW).sentences)
    assert "a signed request that rule `ledger-writes` (severity 8) denies" in said
    assert "two signed" not in said
