"""Attacks on the court that must fail, each a test.

Those on single proofs are in ``test_evidence``, on operators' acts in
``test_mercy``, on the weights in ``test_weights``, on the gate in ``test_gate``.
"""

from itertools import pairwise

import pytest

from enforcement.decide.acts import Mercy
from enforcement.decide.appeals import APART_MS
from enforcement.decide.case import Basis, Level, Standing
from enforcement.decide.court import (
    Answered,
    Appealed,
    Deny,
    Disbelieved,
    Found,
    HeldBack,
    RefuseLink,
    Spared,
)
from enforcement.decide.quarantine import Withheld, enforce
from enforcement.decide.thresholds import MICRO, Thresholds
from enforcement.decide.weights import Weights
from gossip.ledger.appeals import (
    Answer,
    Retraction,
    sign_appeal,
    write_answer,
    write_retraction,
)
from gossip.ledger.entries import (
    Entry,
    EntryKind,
    ProofKind,
    Report,
    Subject,
    SubjectKind,
    Witness,
)
from gossip.ledger.manifests import Manifest, sign_manifest
from gossip.units import NodeId, UnixMs
from tests.support.courts import (
    AGENT,
    DAY,
    MINUTE,
    NAMES,
    ROSTER,
    SUITE,
    Feeds,
    court,
    node,
    subject,
)
from tests.support.members import NOW, member


def test_slander_by_f_liars_cuts_nobody_off_whatever_the_stamps() -> None:
    feeds, judge = Feeds(), court()
    for n in range(200):
        at = NOW + (n % 7 - 3) * 10 * MINUTE
        for victim in ("ash", "cedar", "elm", "fir"):
            judge.hear(feeds.accuse("birch", subject(victim), at), NOW)
    assert not judge.denied_nodes()
    for name in NAMES:
        assert judge.standing(subject(name), NOW).level is not Level.QUARANTINED


def test_a_node_nobody_admitted_can_neither_accuse_nor_be_accused() -> None:
    feeds, judge = Feeds(), court()
    ghost = Subject(SubjectKind.NODE, b"g" * 32)
    (ruling,) = judge.hear(feeds.accuse("birch", ghost), NOW)
    assert isinstance(ruling, Disbelieved)
    assert judge.case(ghost) is None


def test_on_off_behaviour_lengthens_the_term_each_time() -> None:
    feeds, judge = Feeds(), court()
    at: int = NOW
    terms: list[int] = []
    for _ in range(5):
        judge.hear(feeds.accuse("ash", AGENT, at, proof=b"p%d" % at), UnixMs(at))
        standing = judge.standing(AGENT, UnixMs(at))
        assert standing.until_ms is not None
        terms.append(standing.until_ms - at)
        at = standing.until_ms + 1  # good until the moment it is free again
        judge.tick(UnixMs(at))
    assert all(b > 1.6 * a for a, b in pairwise(terms))


def test_a_new_key_washes_nothing_white() -> None:
    """A newcomer has no voice, and a node's next key is the same node."""
    joined = UnixMs(NOW)
    assert Weights({node("fir"): joined}.get).weight_ppm(node("fir"), NOW + MINUTE) == 0
    assert member(SUITE, "fir", turn=1).node == member(SUITE, "fir").node
    feeds, judge = Feeds(), court()
    judge.hear(feeds.accuse("ash", AGENT, proof=b"p"), NOW)
    # Its agent may come back under another key, but its node signs for it.
    assert judge.denial(subject("elm")) is not None


@pytest.mark.parametrize("age", [8 * DAY, 30 * DAY])
def test_a_proof_kept_for_weeks_convicts_nobody(age: int) -> None:
    feeds, judge = Feeds(), court()
    (ruling,) = judge.hear(feeds.accuse("ash", AGENT, proof=b"p%d" % (NOW - age)), NOW)
    assert isinstance(ruling, Disbelieved)
    assert judge.standing(AGENT, NOW).level is Level.CLEAR


@pytest.mark.parametrize("kind", [ProofKind.EQUIVOCATION, ProofKind.TWO_FACES])
def test_a_proof_under_a_false_name_convicts_nobody(kind: ProofKind) -> None:
    feeds, judge = Feeds(), court()
    (ruling,) = judge.hear(
        feeds.accuse("birch", subject("fir"), proof=b"p", kind=kind), NOW
    )
    assert isinstance(ruling, Disbelieved)


def test_a_proven_liar_cannot_speak_through_a_friend() -> None:
    """A friend may carry its feed: what is in it weighs nothing."""
    feeds, judge = Feeds(), court()
    judge.hear(feeds.accuse("ash", subject("fir"), proof=b"f"), NOW)
    judge.hear(feeds.accuse("birch", subject("cedar"), NOW + 1), UnixMs(NOW + 1))
    judge.hear(feeds.accuse("fir", subject("cedar"), NOW + 2), UnixMs(NOW + 2))
    assert judge.denial(subject("cedar")) is None


def quarantined(
    n: int, since: int, by_most: int | None = None
) -> tuple[Subject, Standing]:
    who = Subject(SubjectKind.NODE, n.to_bytes(32, "big"))
    return who, Standing(
        level=Level.QUARANTINED,
        basis=Basis.VOICES,
        since_ms=UnixMs(since),
        until_ms=UnixMs(since + 10 * MINUTE),
        by_most_ms=None if by_most is None else UnixMs(by_most),
    )


def test_a_valve_filled_on_purpose_protects_no_accomplice() -> None:
    """Sacrificial nodes fill it barely and first; whom everybody accuses goes out."""
    thresholds = Thresholds(members=40)
    filled = dict(quarantined(n, NOW + n) for n in range(thresholds.valve))
    accomplice, standing = quarantined(99, NOW + DAY, NOW + DAY + 1)
    out = enforce(
        {**filled, accomplice: standing},
        thresholds,
        Mercy(),
        NOW + 2 * DAY,
        observe=False,
    )
    assert accomplice in out.denied
    assert len(out.denied) == thresholds.valve
    # Nor does it help to have proofs fill the links: calls are denied all the same.
    proven = {
        s: Standing(
            level=Level.QUARANTINED,
            basis=Basis.PROOF,
            since_ms=UnixMs(NOW),
            until_ms=None,
        )
        for s in filled
    }
    out = enforce(
        {**proven, accomplice: standing},
        thresholds,
        Mercy(),
        NOW + 2 * DAY,
        observe=False,
    )
    assert accomplice in out.denied


def test_accusing_40_percent_without_proof_costs_no_more_than_the_valve() -> None:
    thresholds = Thresholds(members=100)
    accused = dict(quarantined(n, NOW, NOW) for n in range(40))
    for at in range(0, 30 * MINUTE, MINUTE):
        out = enforce(accused, thresholds, Mercy(), NOW + at, observe=False)
        assert len(out.denied) <= min(10, thresholds.burst * (1 + at // (5 * MINUTE)))
        assert len(out.refused_links) <= 10
        assert set(out.held_back.values()) == {Withheld.VALVE}
    assert len(out.denied) == 10


def test_own_evidence_counts_whatever_the_valve_says() -> None:
    judge = court("ash")
    for name in ("birch", "cedar", "elm", "fir"):
        report = Report(
            subject=subject(name),
            category="false-envelope",
            severity=7,
            evidence=Witness(digest=bytes(32), count=1, first_ms=NOW, last_ms=NOW),
        )
        rulings = judge.saw(report, NOW)
        assert [r.node for r in rulings if isinstance(r, RefuseLink)] == [node(name)]
    observing = court("ash", isolates=False)
    assert observing.saw(report, NOW) == [Spared(node("fir"), "false-envelope")]
    assert not observing.isolated(node("fir"), NOW)


# Appeals


def plead(
    feeds: Feeds,
    carrier: str,
    at: int = NOW,
    who: str = "fir",
    about: Subject | None = None,
    text: str = "mended",
) -> Entry:
    speaker = member(SUITE, who)
    body = sign_appeal(
        cluster=ROSTER.cluster,
        chain=speaker.chain,
        key=speaker.key,
        subject=about or subject(who),
        issued_at_ms=UnixMs(at),
        text=text,
    )
    return feeds.say(carrier, EntryKind.APPEAL, body, at)


def test_an_accused_node_that_floods_appeals_is_heard_once_in_five_minutes() -> None:
    feeds, judge = Feeds(), court()
    heard = 0
    for n in range(600):
        entry = plead(feeds, NAMES[n % 4], NOW + n * 1_000, text=f"again {n}")
        heard += any(isinstance(r, Appealed) for r in judge.hear(entry, NOW))
    assert heard == 2
    assert len(judge.pleas()) == 2


def test_one_appeal_by_many_carriers_is_one() -> None:
    feeds, judge = Feeds(), court()
    rulings = [judge.hear(plead(feeds, name), NOW) for name in NAMES]
    assert sum(isinstance(r, Appealed) for told in rulings for r in told) == 1
    assert not any(isinstance(r, Disbelieved) for told in rulings for r in told)


def test_nobody_can_use_up_anothers_appeals() -> None:
    feeds, judge = Feeds(), court()
    forged = plead(feeds, "birch").body
    bent = forged[:-1] + bytes([forged[-1] ^ 1])
    judge.hear(feeds.say("birch", EntryKind.APPEAL, bent), NOW)
    rulings = judge.hear(plead(feeds, "cedar", NOW + 1), NOW)
    assert any(isinstance(r, Appealed) for r in rulings)
    assert APART_MS == 5 * MINUTE


def test_an_appeal_is_answered_by_withdrawing_and_that_ends_the_quarantine() -> None:
    feeds, judge = Feeds(), court()
    first = feeds.accuse("birch", subject("fir"))
    for entry in (first, feeds.accuse("cedar", subject("fir"))):
        judge.hear(entry, NOW)
    assert judge.denial(subject("fir")) is not None
    judge.hear(plead(feeds, "ash", NOW + 1), NOW)
    (plea,) = judge.pleas()
    answer = Answer(appeal=plea.appeal.id, upheld=False, reason="our mistake")
    (told,) = judge.hear(
        feeds.say("birch", EntryKind.ANSWER, write_answer(answer), NOW + 2), NOW
    )
    assert isinstance(told, Answered)
    judge.hear(feeds.say("birch", EntryKind.RETRACTION, retract(first)), NOW)
    assert judge.denial(subject("fir")) is None


def retract(entry: Entry, whom: Subject | None = None) -> bytes:
    return write_retraction(
        Retraction(
            incarnation=entry.incarnation,
            number=entry.number,
            index=entry.index,
            subject=whom or subject("fir"),
            reason="",
        )
    )


def test_nobody_takes_back_what_another_said_nor_a_proof() -> None:
    feeds, judge = Feeds(), court()
    said = feeds.accuse("birch", AGENT, proof=b"p")
    judge.hear(said, NOW)
    for by in ("elm", "birch"):
        judge.hear(feeds.say(by, EntryKind.RETRACTION, retract(said, AGENT)), NOW)
    assert judge.denial(AGENT) is not None


# Two faces


def face(feeds: Feeds, by: str, content: bytes, sequence: int = 1) -> Entry:
    who = member(SUITE, "fir")
    made = Manifest(
        cluster=ROSTER.cluster,
        node=who.node,
        key=who.chain.key,
        server="sql",
        version="1",
        sequence=sequence,
        content=content * 32,
        issued_at_ms=NOW,
    )
    return feeds.say(by, EntryKind.MANIFEST, sign_manifest(made, who.key))


def test_two_faces_are_found_reported_and_convict_at_every_node() -> None:
    feeds, judge = Feeds(), court("ash")
    assert judge.hear(face(feeds, "fir", b"1"), NOW) == []
    assert judge.hear(face(feeds, "birch", b"1"), NOW) == []
    (found,) = judge.hear(face(feeds, "birch", b"2"), NOW)
    assert isinstance(found, Found)
    from gossip.ledger.entries import write_report

    proof = feeds.say("ash", EntryKind.REPORT, write_report(found.report))
    for name in ("ash", "cedar"):
        other = court(name)
        rulings = other.hear(proof, NOW)
        assert any(isinstance(r, Deny) and r.subject == subject("fir") for r in rulings)
    judge.hear(proof, NOW)
    assert judge.hear(face(feeds, "cedar", b"2"), NOW) == [], "it is proven already"


def test_an_ordinary_upgrade_convicts_nobody() -> None:
    feeds, judge = Feeds(), court()
    for n, content in enumerate((b"1", b"2", b"3")):
        assert judge.hear(face(feeds, "fir", content, sequence=n), NOW) == []
    assert judge.standing(subject("fir"), NOW).level is Level.CLEAR


# Weight of numbers


def victim(name: str, number: int) -> Subject:
    return Subject(SubjectKind.AGENT, (name.encode() + bytes([number])).ljust(32))


def test_one_reporter_cannot_fill_the_docket_nor_keep_a_proof_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("enforcement.decide.docket.CASES_MAX", 200)
    feeds, judge = Feeds(), court()
    for n in range(30):
        judge.hear(feeds.accuse("cedar", victim("cedar", n)), NOW)
    for n in range(90):
        judge.hear(feeds.accuse("birch", victim("birch", n)), NOW)
    for n in range(30):
        assert judge.case(victim("cedar", n)) is not None, "others' remain"
    held = [n for n in range(90) if judge.case(victim("birch", n))]
    assert held == [*range(50, 90)], "its own first words make room"
    rulings = judge.hear(feeds.accuse("fir", AGENT, proof=b"p"), NOW)
    assert any(isinstance(r, Deny) for r in rulings)


def test_made_up_agents_cannot_keep_an_accomplices_proof_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("enforcement.decide.docket.CASES_MAX", 40)
    feeds, judge = Feeds(), court()
    for n in range(200):
        victim = Subject(SubjectKind.AGENT, n.to_bytes(32, "big"))
        judge.hear(feeds.accuse("ash", victim, NOW + n, proof=b"@%d" % n), NOW)
    rulings = judge.hear(feeds.accuse("ash", subject("fir"), NOW, proof=b"f"), NOW)
    assert any(isinstance(r, Deny) and r.subject == subject("fir") for r in rulings)
    first = Subject(SubjectKind.AGENT, bytes(32))
    assert judge.denial(first) is not None, "nor let one go that is out"
    assert len(judge.find("agent:")) == 39, "its node is out for all others"


def test_a_thousand_proofs_about_one_agent_are_bounded_and_one_quarantine() -> None:
    feeds, judge = Feeds(), court()
    for n in range(1_000):
        judge.hear(feeds.accuse("ash", AGENT, NOW + n, proof=b"p%d" % (NOW + n)), NOW)
    case = judge.case(AGENT)
    assert case is not None
    assert len(case.remarks()) <= 256
    assert judge.standing(AGENT, UnixMs(NOW + 1_000)).times == 1


def test_newcomers_of_one_sponsor_have_one_voice_together() -> None:
    from enforcement.decide.case import Case, Voice

    case = Case.of(AGENT, Thresholds(members=10))
    for n in range(9):
        who = NodeId(n.to_bytes(32, "big"))
        case.hear(
            Voice(
                order=(NOW, who, b"i", 0, 0),
                reporter=who,
                category="x",
                severity=9,
                weight_ppm=MICRO,
                shared=NodeId(b"s" * 32),
            )
        )
    assert case.standing(NOW).sum_micro == MICRO
    assert HeldBack(AGENT, Withheld.VALVE) == HeldBack(AGENT)
