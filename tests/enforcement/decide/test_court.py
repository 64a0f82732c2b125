"""The promises of ``enforcement.decide.court``: entries in, rulings out."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcement.decide import docket
from enforcement.decide.case import Basis, Level
from enforcement.decide.court import (
    AcceptLink,
    Allow,
    Court,
    Deny,
    Disbelieved,
    HeldBack,
    Offence,
    RefuseLink,
    StandingChanged,
    write_release,
)
from enforcement.decide.quarantine import Withheld
from enforcement.decide.story import grounds, name_of, tell
from gossip.errors import PeerError
from gossip.ledger.appeals import Retraction, write_retraction
from gossip.ledger.entries import (
    Entry,
    EntryKind,
    Proof,
    Report,
    Subject,
    SubjectKind,
    Witness,
    write_policy,
    write_report,
)
from gossip.units import EntryId, Incarnation, NodeId, UnixMs
from scenarios.toy import ToySuite
from tests.support.members import HOUR, NOW, act, founders, member, roster

NAMES = ["ash", "birch", "cedar", "elm", "fir"]
SUITE = ToySuite()
ROSTER = roster(SUITE, NAMES)
AGENT = Subject(SubjectKind.AGENT, b"a" * 32)


def node(name: str) -> NodeId:
    return member(SUITE, name).node


def subject(name: str) -> Subject:
    return Subject(SubjectKind.NODE, node(name))


def entry(by: str, kind: int, body: bytes, at: int = NOW, number: int = 0) -> Entry:
    mark = f"{by}{at}{number}{body!r}".encode()
    return Entry(
        id=EntryId(mark),
        author=node(by),
        incarnation=Incarnation(b"i" * 16),
        number=number,
        index=0,
        issued_at_ms=UnixMs(at),
        kind=kind,
        body=body,
    )


def accuse(
    by: str, whom: Subject, at: int = NOW, severity: int = 8, proof: bytes = b""
) -> Entry:
    evidence = (
        Proof(data=proof)
        if proof
        else Witness(digest=bytes(32), count=1, first_ms=NOW, last_ms=NOW)
    )
    report = Report(
        subject=whom, category="rate-abuse", severity=severity, evidence=evidence
    )
    return entry(by, EntryKind.REPORT, write_report(report), at)


def read_proof(data: bytes) -> Offence | None:
    """A stand-in: the first byte says what the real reader would find."""
    if data[:1] == b"!":
        raise PeerError("no proof")
    if data[:1] == b"?":
        return None
    return Offence(
        convicts=(AGENT, subject("elm")),
        request_id=data.ljust(16, b"."),
        rule="ledger-writes",
        severity=8,
        committed_at_ms=NOW,
    )


def court(me: str = "ash", *, observe: bool = False) -> Court:
    return Court(node(me), ROSTER, SUITE, read_proof, observe=observe)


def release(whom: Subject, at: int = NOW + 1000, **more: object) -> bytes:
    return act(
        SUITE,
        founders(SUITE, NAMES),
        write_release(whom, "a drill"),
        at=at,
        **more,  # type: ignore[arg-type] # passed on as given
    )


def test_a_proof_from_one_witness_cuts_the_agent_and_its_node() -> None:
    judge = court()
    assert not judge.denies_anyone()

    rulings = judge.hear(accuse("birch", AGENT, proof=b"p"), NOW)

    assert judge.denies_anyone()
    assert {r.subject for r in rulings if isinstance(r, Deny)} == {
        AGENT,
        subject("elm"),
    }
    assert [r.node for r in rulings if isinstance(r, RefuseLink)] == [node("elm")]
    assert judge.denial(AGENT) is not None
    assert judge.denial(subject("fir")) is None


def test_a_forged_proof_convicts_nobody_not_even_by_a_voice() -> None:
    judge = court()

    (ruling,) = judge.hear(accuse("birch", AGENT, proof=b"!"), NOW)

    assert isinstance(ruling, Disbelieved)
    assert judge.standing(AGENT, NOW).level is Level.CLEAR


def test_a_proof_whose_bundle_we_lack_is_a_witness_word() -> None:
    judge = court()

    judge.hear(accuse("birch", AGENT, proof=b"?"), NOW)

    assert judge.standing(AGENT, NOW).level is Level.SUSPECT
    assert judge.denial(AGENT) is None


def test_a_lone_liar_harms_nobody_however_often_it_speaks() -> None:
    judge = court()
    for n in range(50):
        judge.hear(accuse("birch", subject("fir"), at=NOW + n, severity=9), NOW)

    assert judge.denial(subject("fir")) is None


def test_two_witnesses_of_five_cut_a_node_off() -> None:
    judge = court()
    judge.hear(accuse("birch", subject("fir")), NOW)

    rulings = judge.hear(accuse("cedar", subject("fir")), NOW)

    assert any(isinstance(r, Deny) for r in rulings)
    assert judge.standing(subject("fir"), NOW).basis is Basis.VOICES


def test_observe_mode_decides_shows_and_does_not_enforce() -> None:
    judge = court(observe=True)
    judge.hear(accuse("birch", subject("fir")), NOW)

    rulings = judge.hear(accuse("cedar", subject("fir")), NOW)

    assert HeldBack(subject("fir"), Withheld.OBSERVE) in rulings
    assert judge.denial(subject("fir")) is None
    judge.hear(accuse("cedar", AGENT, proof=b"p"), NOW)
    assert judge.denial(AGENT) is not None


def test_operators_release_and_links_come_back() -> None:
    judge = court()
    judge.hear(accuse("birch", AGENT, proof=b"p"), NOW)

    judge.hear(
        entry("cedar", EntryKind.ACT, release(AGENT), NOW + 1000), UnixMs(NOW + 1000)
    )
    rulings = judge.hear(
        entry("cedar", EntryKind.ACT, release(subject("elm")), NOW + 1000, 1),
        UnixMs(NOW + 1000),
    )

    assert AcceptLink(node("elm")) in rulings
    assert Allow(subject("elm")) in rulings
    assert judge.denial(AGENT) is None
    assert not judge.denies_anyone()


@pytest.mark.parametrize("signers", [(0,), (0, 0), (7, 8)])
def test_too_few_or_false_operators_release_nobody(signers: tuple[int, ...]) -> None:
    judge = court()
    judge.hear(accuse("birch", AGENT, proof=b"p"), NOW)

    (ruling,) = judge.hear(
        entry("cedar", EntryKind.ACT, release(AGENT, signers=signers), NOW + 1000), NOW
    )

    assert isinstance(ruling, Disbelieved)
    assert judge.denial(AGENT) is not None


def test_an_act_published_after_its_expiry_is_void() -> None:
    judge = court()
    judge.hear(accuse("birch", AGENT, proof=b"p"), NOW)
    late = NOW + 2 * HOUR

    (ruling,) = judge.hear(entry("cedar", EntryKind.ACT, release(AGENT), late), NOW)

    assert isinstance(ruling, Disbelieved)


def test_a_replayed_release_does_not_pardon_what_came_after_it() -> None:
    judge = court()
    judge.hear(accuse("birch", AGENT, proof=b"p"), NOW)
    freed = release(AGENT)
    judge.hear(entry("cedar", EntryKind.ACT, freed, NOW + 1000), UnixMs(NOW + 1000))
    again = NOW + 10 * 60_000
    judge.hear(accuse("birch", AGENT, at=again, proof=b"q"), UnixMs(again))
    assert judge.denial(AGENT) is not None

    judge.hear(entry("elm", EntryKind.ACT, freed, again + 1, 9), UnixMs(again + 1))

    assert judge.denial(AGENT) is not None


def test_own_evidence_isolates_a_hostile_node_at_once_and_only_here() -> None:
    judge = court("ash")
    report = Report(
        subject=subject("fir"),
        category="rate-abuse",
        severity=7,
        evidence=Witness(digest=bytes(32), count=1, first_ms=NOW, last_ms=NOW),
    )

    rulings = judge.saw(report, NOW)

    assert any(isinstance(r, RefuseLink) for r in rulings)
    assert judge.isolated(node("fir"), NOW)
    assert judge.denies_anyone()
    assert judge.denial(subject("fir")) is None
    rulings = judge.tick(UnixMs(NOW + 5 * 60_000))
    assert AcceptLink(node("fir")) in rulings


def test_a_term_that_is_over_ends_without_anybody_saying_so() -> None:
    judge = court()
    judge.hear(accuse("birch", AGENT, proof=b"p"), NOW)
    until = judge.standing(AGENT, NOW).until_ms
    assert until is not None

    rulings = judge.tick(until)

    assert any(isinstance(r, StandingChanged) for r in rulings)
    assert judge.denial(AGENT) is None or judge.tick(UnixMs(until + 60_000))


def test_a_node_that_reports_itself_is_not_believed() -> None:
    (ruling,) = court().hear(accuse("fir", subject("fir")), NOW)

    assert isinstance(ruling, Disbelieved)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.sampled_from(["fir", "elm"]),
            st.integers(0, 20 * 60_000),
            st.integers(1, 9),
            st.sampled_from([b"", b"", b"?", b"p", b"q", b"!"]),
        ),
        max_size=12,
    ),
    st.data(),
)
def test_equal_entries_give_equal_standings_at_every_node(
    said: list[tuple[str, str, int, int, bytes]], data: st.DataObject
) -> None:
    entries = [
        attrs.evolve(
            accuse(by, subject(whom), NOW + at, severity, proof=proof), number=n
        )
        for n, (by, whom, at, severity, proof) in enumerate(said)
    ]
    one, other = court("ash"), court("birch")
    for e in entries:
        one.hear(e, NOW)
    for e in data.draw(st.permutations(entries)):
        other.hear(e, NOW)
    later = UnixMs(NOW + 21 * 60_000)
    one.tick(later)
    other.tick(later)

    assert one.standings() == other.standings()


def test_why_tells_who_said_what_and_how_to_undo_it() -> None:
    judge = court()
    judge.hear(accuse("birch", AGENT, proof=b"p"), NOW)
    judge.hear(accuse("cedar", AGENT, at=NOW + 5, severity=3), NOW)

    story = tell(judge, AGENT, name_of(judge, AGENT), UnixMs(NOW + 10))

    text = "\n".join(story.sentences)
    assert "quarantined until" in text
    assert "birch showed a proof" in text
    assert "`ledger-writes`" in text
    assert "cedar reported rate-abuse, severity 3" in text
    assert "picket quarantine release" in text
    assert story.facts["basis"] == "proof"
    standing = judge.standing(AGENT, NOW)
    assert grounds(judge, AGENT, standing) == "by rule ledger-writes, proven by birch"
    for by in ("cedar", "birch"):
        judge.hear(accuse(by, subject("fir")), NOW)
    standing = judge.standing(subject("fir"), NOW)
    assert grounds(judge, subject("fir"), standing) == "by the voices of birch, cedar"


def test_members_policies_are_known_by_their_last_word() -> None:
    judge = court()
    judge.hear(entry("fir", EntryKind.POLICY, write_policy(b"1" * 32), NOW + 5), NOW)
    judge.hear(entry("fir", EntryKind.POLICY, write_policy(b"0" * 32), NOW), NOW)

    assert judge.policies[node("fir")][1] == b"1" * 32


def test_a_name_or_a_prefix_finds_a_subject() -> None:
    judge = court()
    judge.hear(accuse("birch", AGENT), NOW)

    assert judge.find("fir") == [subject("fir")]
    assert judge.find("agent:6161") == [AGENT]
    assert judge.find("6161") == [AGENT]
    assert judge.find("nothing") == []


@pytest.mark.parametrize("early_ms", [1, 60_000, 600_000, 40 * 86_400_000])
def test_a_convict_that_confesses_a_time_long_gone_gains_nothing(early_ms: int) -> None:
    """Nor does its friend: the proof tells when it was done."""
    judge = court("birch")
    judge.hear(accuse("elm", AGENT, at=NOW - early_ms, proof=b"p"), NOW)
    judge.hear(accuse("cedar", AGENT, at=NOW + 5, proof=b"p"), UnixMs(NOW + 5))

    assert judge.denial(AGENT) is not None
    assert judge.denial(subject("elm")) is not None
    until = judge.standing(AGENT, UnixMs(NOW + 5)).until_ms
    assert until is not None
    assert until > NOW + 4 * 60_000


def test_retractions_of_what_was_never_said_open_no_more_cases_than_reports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(docket, "CASES_MAX", 500)
    judge = court()
    for n in range(150):
        said = Retraction(
            subject=Subject(SubjectKind.AGENT, n.to_bytes(32, "big")),
            incarnation=Incarnation(b"i" * 16),
            number=n,
            index=0,
            reason="",
        )
        body = write_retraction(said)
        judge.hear(entry("birch", EntryKind.RETRACTION, body, number=n), NOW)

    assert len(judge.find("agent:")) == 100
