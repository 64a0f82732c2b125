"""What gates saw, in the words of reports and of the court: one for every driver."""

from functools import lru_cache
from typing import Final

from enforcement import effects
from enforcement.decide.court import Offence
from enforcement.decide.evidence import DeniedRequest
from gossip.ledger.entries import Proof, Report, Subject, SubjectKind, Witness

HOSTILE_REQUEST: Final = "hostile-request"
_KINDS: Final = {
    effects.SubjectKind.NODE: SubjectKind.NODE,
    effects.SubjectKind.AGENT: SubjectKind.AGENT,
    effects.SubjectKind.ARTEFACT: SubjectKind.ARTEFACT,
    effects.SubjectKind.SESSION: SubjectKind.SESSION,
}


@lru_cache(maxsize=4_096)
def for_court(kind: effects.SubjectKind, name: bytes) -> Subject:
    """A gate's subject as the court knows it: each call asks about the same few."""
    return Subject(_KINDS[kind], name)


def witness_report(seen: effects.Witness) -> Report:
    """The report of what a gate saw and cannot prove."""
    return Report(
        subject=for_court(seen.subject.kind, seen.subject.id),
        category=seen.category,
        severity=seen.severity,
        evidence=Witness(
            digest=seen.digest,
            count=seen.count,
            first_ms=seen.at_ms,
            last_ms=seen.at_ms,
        ),
    )


def proof_report(seen: effects.Proof) -> Report:
    """The report of a signed request that convicts."""
    return Report(
        subject=Subject(SubjectKind.NODE, seen.node),
        category=HOSTILE_REQUEST,
        severity=seen.severity,
        evidence=Proof(data=seen.data),
    )


def offence(denied: DeniedRequest) -> Offence:
    """What a denied request convicts its agent and its node of."""
    return Offence(
        convicts=(
            Subject(SubjectKind.AGENT, denied.agent),
            Subject(SubjectKind.NODE, denied.node),
        ),
        request_id=denied.request_id,
        rule=denied.rule,
        severity=denied.severity,
        committed_at_ms=denied.issued_at_ms,
    )
