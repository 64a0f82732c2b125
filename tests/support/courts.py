"""Courts for tests: five members, entries as their feeds would hold them."""

import attrs

from enforcement.decide.court import Court, Offence
from gossip.errors import PeerError
from gossip.ledger.entries import (
    Entry,
    EntryKind,
    Proof,
    ProofKind,
    Report,
    Subject,
    SubjectKind,
    Witness,
    write_report,
)
from gossip.membership.founders import ActKind
from gossip.units import EntryId, Incarnation, NodeId, UnixMs
from gossip.wire import Value
from scenarios.toy import ToySuite
from tests.support.members import NOW, act, founders, member, roster

NAMES = ["ash", "birch", "cedar", "elm", "fir"]
SUITE = ToySuite()
FOUNDERS = founders(SUITE, NAMES)
ROSTER = roster(SUITE, NAMES)
AGENT = Subject(SubjectKind.AGENT, b"a" * 32)
INCARNATION = Incarnation(b"i" * 16)
MINUTE = 60_000
DAY = 86_400_000


def node(name: str) -> NodeId:
    return member(SUITE, name).node


def subject(name: str) -> Subject:
    return Subject(SubjectKind.NODE, node(name))


@attrs.define
class Feeds:
    """Gives each entry the next number in its author's feed."""

    _numbers: dict[str, int] = attrs.field(init=False, factory=dict)

    def say(self, by: str, kind: int, body: bytes, at: int = NOW) -> Entry:
        number = self._numbers.get(by, 0)
        self._numbers[by] = number + 1
        return Entry(
            id=EntryId(f"{by}{number}".encode().ljust(32, b".")),
            author=node(by),
            incarnation=INCARNATION,
            number=number,
            index=0,
            issued_at_ms=UnixMs(at),
            kind=kind,
            body=body,
        )

    def accuse(
        self,
        by: str,
        whom: Subject,
        at: int = NOW,
        severity: int = 9,
        proof: bytes = b"",
        category: str = "rate-abuse",
        kind: ProofKind = ProofKind.DENIED_REQUEST,
    ) -> Entry:
        evidence = (
            Proof(kind=kind, data=proof)
            if proof
            else Witness(digest=bytes(32), count=1, first_ms=NOW, last_ms=NOW)
        )
        report = Report(
            subject=whom, category=category, severity=severity, evidence=evidence
        )
        return self.say(by, EntryKind.REPORT, write_report(report), at)

    def decide(
        self,
        by: str,
        kind: ActKind,
        payload: Value,
        at: int = NOW,
        carried_at: int | None = None,
        signers: tuple[int, ...] = (0, 1),
        life_ms: int = DAY,
    ) -> Entry:
        """An act of the operators, carried by ``by``."""
        body = act(
            SUITE, FOUNDERS, payload, kind=kind, at=at, signers=signers, life_ms=life_ms
        )
        return self.say(
            by, EntryKind.ACT, body, at if carried_at is None else carried_at
        )


def read_proof(data: bytes) -> Offence | None:
    """A stand-in: the bytes say what the real reader would find."""
    if data[:1] == b"!":
        raise PeerError("no proof")
    if data[:1] == b"?":
        return None
    if data[:1] == b"@":  # one of many agents, and its node
        agent = Subject(SubjectKind.AGENT, int(data[1:]).to_bytes(32, "big"))
        return Offence(
            convicts=(agent, subject("elm")),
            request_id=data.ljust(16, b"."),
            rule="ledger-writes",
            severity=8,
            committed_at_ms=NOW,
        )
    convicts = {
        b"c": (subject("cedar"),),
        b"f": (subject("fir"),),
        b"e": (subject("elm"),),
    }.get(data[:1], (AGENT, subject("elm")))
    at = int(data[1:].decode()) if data[1:].isdigit() else NOW
    return Offence(
        convicts=convicts,
        request_id=data.ljust(16, b"."),
        rule="ledger-writes",
        severity=8,
        committed_at_ms=UnixMs(at),
    )


def court(me: str = "ash", *, observe: bool = False, isolates: bool = True) -> Court:
    """A court whose cluster has five members: f = 1, m = 0."""
    return Court(
        node(me), ROSTER, SUITE, read_proof, observe=observe, isolates=isolates
    )
