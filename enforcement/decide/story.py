"""The story of a standing: who said what, what it weighed, how to undo it.

Answers `picket quarantine why`. Plain words for a person, and the same facts as
JSON for a program; both come from one place, so they cannot disagree.
"""

from datetime import UTC, datetime
from typing import Final, TypeAlias

import attrs

from enforcement.decide.case import (
    Basis,
    Conviction,
    Level,
    Order,
    Release,
    Remark,
    Standing,
    Voice,
)
from enforcement.decide.court import Court
from enforcement.decide.quarantine import Withheld
from enforcement.decide.terms import UNENDING_MS
from enforcement.decide.thresholds import MICRO
from gossip.ledger.entries import Subject, SubjectKind
from gossip.membership.founders import ActKind
from gossip.units import NodeId, UnixMs

NAMED_MAX: Final = 8
Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


@attrs.frozen(kw_only=True)
class Story:
    """Why a subject stands as it does.

    Attributes:
        sentences: For a person, in order, without line breaks.
        facts: The same for a program; times are Unix ms, voices are 0 to 1.
    """

    sentences: tuple[str, ...]
    facts: dict[str, Json]


def tell(court: Court, subject: Subject, name: str, now: UnixMs) -> Story:
    """Tell the whole story of ``subject``, known to people as ``name``."""
    standing = court.standing(subject, now)
    case = court.case(subject)
    remarks = case.remarks() if case else ()
    live = {voice.order for voice in case.voices()} if case else set()
    held_back = court.held_back(subject)
    sentences = [
        _headline(name, standing, tell_held_back(court, subject)),
        *(
            _say(court, remark, live, now)
            + ("" if case is None or case.counts(remark) else " Taken back since.")
            for remark in remarks
        ),
        _weighing(court, standing, live),
    ]
    isolated = None
    if subject.kind is SubjectKind.NODE:
        isolated = court.isolated_until(NodeId(subject.id), now)
    if isolated is not None:
        sentences.append(
            f"This node cut it off by itself until {clock(isolated)}, on what it saw."
        )
    allowed = court.mercy.allowed_until(subject, now)
    stood_down = court.mercy.stands_down_until(now)
    if allowed is not None:
        sentences.append(f"Operators allow it until {clock(allowed)}.")
    if stood_down is not None:
        until = clock(stood_down)
        sentences.append(f"Operators suspended automatic quarantine until {until}.")
    undo = None
    if standing.level is Level.QUARANTINED:
        needed = court.roster.founders.quorum[ActKind.RELEASE]
        undo = (
            f"`picket quarantine release {subject} --reason TEXT` with"
            f" {needed} operator key{'s' if needed > 1 else ''}"
            f"{_where(court, subject)}"
        )
        sentences.append(f"To undo it: {undo}.")
    return Story(
        sentences=tuple(sentences),
        facts={
            "subject": str(subject),
            "name": name,
            "standing": standing.level.name.lower(),
            "basis": standing.basis.value if standing.basis else None,
            "since_ms": standing.since_ms,
            "until_ms": standing.until_ms,
            "times": standing.times,
            "enforced": standing.level is Level.QUARANTINED and not held_back,
            "held_back": held_back.value if held_back else None,
            "allowed_until_ms": allowed,
            "stands_down_until_ms": stood_down,
            "undo": undo,
            "voices": standing.sum_micro / MICRO,
            "threshold": court.thresholds.threshold / MICRO,
            "members": court.thresholds.members,
            "may_lie": court.thresholds.f,
            "may_err": court.thresholds.m,
            "isolated_until_ms": isolated,
            "remarks": [
                {
                    **_fact(court, remark, live, now),
                    "taken_back": case is not None and not case.counts(remark),
                }
                for remark in remarks
            ],
        },
    )


def _where(court: Court, subject: Subject) -> str:
    """At whose desk a release is heard: nobody hears who is cut off."""
    if court.denial(Subject(SubjectKind.NODE, court.me)) is not None:
        return ", at another node: nobody hears this one while it is cut off"
    if subject.kind is SubjectKind.NODE:
        name = court.roster.name(NodeId(subject.id))
        return f", at another node than {name}, which nobody hears"
    return ""


def grounds(court: Court, subject: Subject, standing: Standing) -> str:
    """What a quarantine rests on, in few words: whose proof, or whose voices."""
    proof = standing.conviction
    if proof is not None:
        return f"by rule {proof.rule}, proven by {court.roster.name(proof.reporter)}"
    if standing.basis is Basis.PROOF:
        return "by a proof"
    case = court.case(subject)
    voices = case.voices() if case is not None else ()
    names = sorted({court.roster.name(voice.reporter) for voice in voices})
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return f"by the voices of {', '.join(names[:NAMED_MAX])}{more}"


def tell_held_back(court: Court, subject: Subject) -> str:
    """What keeps a quarantine from being enforced, and of the valve until when."""
    why = court.held_back(subject)
    if why is not Withheld.VALVE:
        return why or ""
    at, most = court.held_back_until(subject), court.thresholds
    if at is None:
        return f"{why}: voices cut off {most.valve} at once, and so many are out"
    again = "once" if most.burst == 1 else f"{most.burst} times"
    return (
        f"{why}, until {clock(at)}: voices cut off {again} in five minutes,"
        " one let go since included"
    )


def _headline(name: str, standing: Standing, held_back: str) -> str:
    if standing.level is not Level.QUARANTINED:
        return f"{name} is {_WORDS[standing.level]}."
    assert standing.until_ms is not None
    grounds = "a proof" if standing.basis is Basis.PROOF else "the voices of witnesses"
    tail = f"; decided but not enforced, by {held_back}" if held_back else ""
    until = clock(standing.until_ms)
    return f"{name} is quarantined until {until} by {grounds}{tail}."


_WORDS = {
    Level.CLEAR: "clear: nothing stands against it",
    Level.WATCH: "watched: somebody complained, nothing is blocked",
    Level.SUSPECT: "suspect: more than half of what it takes, nothing is blocked",
}


_PROOFS = {
    "equivocation": "two signed batches for one place in its feed",
    "two-faced-manifest": "two signed manifests of one server under one number",
}


def _say(court: Court, remark: Remark, live: set[Order], now: int) -> str:
    at = clock(remark.order[0])
    match remark:
        case Conviction():
            who = court.roster.name(remark.reporter)
            shown = _PROOFS.get(
                remark.rule,
                f"a signed request that rule `{remark.rule}` (severity"
                f" {remark.severity}) denies",
            )
            return f"{at} {who} showed a proof: {shown}."
        case Release():
            by = ", ".join(remark.signers)
            return f"{at} released by operators {by}: {remark.reason or 'no reason given'}."
        case Voice():
            who = court.roster.name(remark.reporter)
            worth = (
                f"worth {remark.micro(now) / MICRO:.2f} of a voice now"
                if remark.order in live
                else "no longer counted"
            )
            return (
                f"{at} {who} reported {remark.category}, severity"
                f" {remark.severity}, with weight {remark.weight_ppm / MICRO:.2f}"
                f"{_together(court, remark)}; {worth}."
            )


def _together(court: Court, voice: Voice) -> str:
    if voice.shared is None:
        return ""
    sponsor = court.roster.name(voice.shared)
    return f", one voice together with {sponsor}, who brought it in"


def _weighing(court: Court, standing: Standing, live: set[Order]) -> str:
    thresholds = court.thresholds
    if not thresholds.voices_convict:
        return f"With {thresholds.members} members only a proof convicts."
    return (
        f"Voices now sum to {standing.sum_micro / MICRO:.2f}; a quarantine takes more"
        f" than {thresholds.threshold / MICRO:.0f}, since {thresholds.f} of {thresholds.members} may"
        f" lie and {thresholds.m} may be mistaken.{_unjudged(court, standing, live)}"
    )


def _unjudged(court: Court, standing: Standing, live: set[Order]) -> str:
    """Why enough voices convict nobody: they are judged when one is said, by what it
    took then."""
    enough = standing.sum_micro > court.thresholds.threshold
    if standing.level is Level.QUARANTINED or not enough or not live:
        return ""
    return (
        " They were judged as they were said, when the members with a voice were too few"
        " for it; one more report decides."
    )


def _fact(court: Court, remark: Remark, live: set[Order], now: int) -> dict[str, Json]:
    fact: dict[str, Json] = {"at_ms": remark.order[0]}
    match remark:
        case Conviction():
            fact |= {
                "kind": "proof",
                "reporter": court.roster.name(remark.reporter),
                "rule": remark.rule,
                "severity": remark.severity,
                "request_id": remark.offence.hex(),
                "committed_at_ms": remark.committed_at_ms,
            }
        case Release():
            fact |= {
                "kind": "release",
                "act": remark.act.hex(),
                "operators": [*remark.signers],
                "reason": remark.reason,
            }
        case Voice():
            fact |= {
                "kind": "voice",
                "reporter": court.roster.name(remark.reporter),
                "category": remark.category,
                "severity": remark.severity,
                "weight": remark.weight_ppm / MICRO,
                "voice": remark.micro(now) / MICRO if remark.order in live else 0,
                "one_voice_with": court.roster.name(remark.shared)
                if remark.shared
                else None,
            }
    return fact


def name_of(court: Court, subject: Subject) -> str:
    """What people call a subject: a node's name, else its kind and first digits."""
    if subject.kind is SubjectKind.NODE:
        return f"node {court.roster.name(NodeId(subject.id))}"
    return f"{subject.kind.name.lower()} {subject.id.hex()[:16]}"


def clock(at_ms: int) -> str:
    """A time as people in every place read it alike: UTC; or what has to happen."""
    if at_ms >= UNENDING_MS:
        return "operators release it"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
