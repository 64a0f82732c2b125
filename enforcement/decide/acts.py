"""What operators decide about standings: payloads of acts, and what is in force.

A release ends one quarantine. An allow-list entry and a stand-down hold back
what the court decides, for as long as they say. A false positive strikes one
report from the record, refutes its reporter, and lets the same thing pass for
a while. Each has an end; each of a later version replaces the one before it.
"""

from collections.abc import Collection
from typing import Final

import attrs

from enforcement.decide.deeds import Deed, deed
from enforcement.decide.remarks import Conviction
from gossip.errors import PeerError
from gossip.ledger.entries import Place, Subject, SubjectKind
from gossip.membership.acts import Act
from gossip.units import ID_BYTES, INCARNATION_BYTES, UNIX_MS_MAX, NodeId, UnixMs
from gossip.wire import Value, take_bytes, take_int, take_list, take_str

REASON_CHARS_MAX: Final = 500
PARDONS_MAX: Final = 64
"""Two stories that one release names; who told more takes another release."""
STAND_DOWN_MS_MAX: Final = 86_400_000
OWNER_CHARS_MAX: Final = 64
_CONFIRM: Final = 1


@attrs.frozen(kw_only=True)
class Released:
    """``subject`` is let go.

    Attributes:
        pardons: Which of its two stories are pardoned, by what makes two proofs one:
            those that the signers were shown. See `enforcement.decide.pardons`.
    """

    subject: Subject
    reason: str
    pardons: tuple[bytes, ...] = ()


def write_release(
    subject: Subject, reason: str, pardons: Collection[bytes] = ()
) -> list[Value]:
    """The payload of a release."""
    named: list[Value] = [*sorted(pardons)]
    return [int(subject.kind), subject.id, reason[:REASON_CHARS_MAX], named]


def read_release_untrusted(act: Act) -> Released:
    """Whom a release lets go, why, and what it pardons.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(act.payload, 4, 4)
    named = take_list(fields[3], 0, PARDONS_MAX)
    return Released(
        subject=_take_subject(fields[0], fields[1]),
        reason=take_str(fields[2], 0, REASON_CHARS_MAX),
        pardons=tuple(take_bytes(one, ID_BYTES, ID_BYTES) for one in named),
    )


def write_confirmation(node: NodeId, reason: str) -> list[Value]:
    """The payload of a roster act: a newcomer gets a voice of its own."""
    return [_CONFIRM, node, reason[:REASON_CHARS_MAX]]


def read_confirmation_untrusted(act: Act) -> tuple[NodeId, str]:
    """Whom a roster act gives a voice of its own, and why.

    Raises:
        PeerError: malformed, or something else that roster acts will do one day.
    """
    fields = take_list(act.payload, 3, 3)
    take_int(fields[0], _CONFIRM, _CONFIRM)
    node = NodeId(take_bytes(fields[1], ID_BYTES, ID_BYTES))
    return node, take_str(fields[2], 0, REASON_CHARS_MAX)


@attrs.frozen(kw_only=True)
class Allowed:
    """Nothing is enforced against ``subject`` from the act's stamp to ``until_ms``."""

    subject: Subject
    until_ms: UnixMs
    reason: str


def write_allow(allowed: Allowed) -> list[Value]:
    """The payload of an allow-list entry."""
    subject = allowed.subject
    reason = allowed.reason[:REASON_CHARS_MAX]
    return [int(subject.kind), subject.id, allowed.until_ms, reason]


def read_allow_untrusted(act: Act) -> Allowed:
    """Read an allow-list entry; it ends no later than the act.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(act.payload, 4, 4)
    return Allowed(
        subject=_take_subject(fields[0], fields[1]),
        until_ms=_take_until(fields[2], act, act.expires_at_ms),
        reason=take_str(fields[3], 0, REASON_CHARS_MAX),
    )


def write_stand_down(until_ms: UnixMs, reason: str) -> list[Value]:
    """The payload of a stand-down."""
    return [until_ms, reason[:REASON_CHARS_MAX]]


def read_stand_down_untrusted(act: Act) -> tuple[UnixMs, str]:
    """Until when nothing is cut off automatically, at most a day, and why.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(act.payload, 2, 2)
    latest = min(act.expires_at_ms, act.issued_at_ms + STAND_DOWN_MS_MAX)
    until = _take_until(fields[0], act, latest)
    return until, take_str(fields[1], 0, REASON_CHARS_MAX)


@attrs.frozen(kw_only=True)
class FalsePositive:
    """One report is struck from the record, and the like of it passes for a while.

    Attributes:
        place: Where the report stands.
        about: A category of reports, or the id of a rule.
        owner: Who answers for the exception.
    """

    place: Place
    subject: Subject
    about: str
    until_ms: UnixMs
    owner: str
    reason: str
    refutes: bool = True
    """Whether the reporter was wrong; False where the policy was."""


def write_false_positive(found: FalsePositive) -> list[Value]:
    """The payload of a false positive."""
    return [
        [*found.place],
        int(found.subject.kind),
        found.subject.id,
        found.about,
        found.until_ms,
        found.owner,
        found.reason[:REASON_CHARS_MAX],
        int(found.refutes),
    ]


def read_false_positive_untrusted(act: Act) -> FalsePositive:
    """Read a false positive; the exception ends no later than the act.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(act.payload, 8, 8)
    return FalsePositive(
        place=take_place(fields[0]),
        subject=_take_subject(fields[1], fields[2]),
        about=take_str(fields[3], 1, REASON_CHARS_MAX),
        until_ms=_take_until(fields[4], act, act.expires_at_ms),
        owner=take_str(fields[5], 1, OWNER_CHARS_MAX),
        reason=take_str(fields[6], 0, REASON_CHARS_MAX),
        refutes=bool(take_int(fields[7], 0, 1)),
    )


def take_place(value: Value) -> Place:
    """Where an entry stands.

    Raises:
        PeerError: malformed.
    """
    author, incarnation, number, index = take_list(value, 4, 4)
    return (
        NodeId(take_bytes(author, ID_BYTES, ID_BYTES)),
        take_bytes(incarnation, INCARNATION_BYTES, INCARNATION_BYTES),
        take_int(number, 0, UNIX_MS_MAX),
        take_int(index, 0, 2**16),
    )


def _take_subject(kind: Value, identity: Value) -> Subject:
    return Subject(
        SubjectKind(take_int(kind, 1, max(SubjectKind))),
        take_bytes(identity, ID_BYTES, ID_BYTES),
    )


def _take_until(value: Value, act: Act, latest: int) -> UnixMs:
    until = take_int(value, 0, UNIX_MS_MAX)
    if until > latest:
        raise PeerError("it would last longer than such an act may")
    return UnixMs(until)


@attrs.define
class Mercy:
    """What operators hold back now. A function of the set of acts heard."""

    _allowed: dict[Subject, tuple[int, bytes, UnixMs, UnixMs]] = attrs.field(
        init=False, factory=dict
    )
    _stand_down: tuple[int, bytes, UnixMs, UnixMs] | None = attrs.field(
        init=False, default=None
    )
    _exceptions: dict[tuple[Subject, str], list[tuple[UnixMs, UnixMs]]] = attrs.field(
        init=False, factory=dict
    )

    _struck: set[tuple[tuple[Subject, ...], Deed]] = attrs.field(
        init=False, factory=set
    )
    """Of whom operators say that they did not do what."""

    def allow(self, act: Act, allowed: Allowed) -> None:
        """Operators put a subject on the allow-list, or end that by ``until``."""
        new = (act.version, act.id, act.issued_at_ms, allowed.until_ms)
        old = self._allowed.get(allowed.subject)
        if old is None or new[:2] > old[:2]:
            self._allowed[allowed.subject] = new

    def stand_down(self, act: Act, until_ms: UnixMs) -> None:
        """Operators suspend what is automatic, or end that."""
        new = (act.version, act.id, act.issued_at_ms, until_ms)
        if self._stand_down is None or new[:2] > self._stand_down[:2]:
            self._stand_down = new

    def except_(self, act: Act, found: FalsePositive) -> None:
        """Operators let the like of a false positive pass."""
        spans = self._exceptions.setdefault((found.subject, found.about), [])
        spans.append((act.issued_at_ms, found.until_ms))

    def strike(self, convicts: tuple[Subject, ...], what: Deed) -> None:
        """No proof of a deed counts, now or then, whoever shows it and by what rule."""
        self._struck.add((convicts, what))

    def excuses(self, proof: Conviction) -> bool:
        """Whether operators struck what it proves, or let the like of it pass."""
        if self._struck and (proof.convicts, deed(proof)) in self._struck:
            return True
        rule, at = proof.rule, proof.committed_at_ms
        return bool(self._exceptions) and any(
            self.spares(subject, rule, at) for subject in proof.convicts
        )

    def spares(self, subject: Subject, about: str, at_ms: int) -> bool:
        """Whether a report of ``at_ms`` falls under an exception."""
        spans = self._exceptions.get((subject, about), ())
        return any(begin <= at_ms < end for begin, end in spans)

    def allowed_until(self, subject: Subject, now: int) -> UnixMs | None:
        """Until when the subject is on the allow-list, if it is now."""
        return _in_force(self._allowed.get(subject), now)

    def stands_down_until(self, now: int) -> UnixMs | None:
        """Until when nothing is cut off automatically, if that is so now."""
        return _in_force(self._stand_down, now)

    def next_change(self, now: int) -> int | None:
        """When something in force ends."""
        held = [*self._allowed.values()]
        if self._stand_down is not None:
            held.append(self._stand_down)
        ends = [t for _, _, begin, end in held for t in (begin, end) if t > now]
        return min(ends, default=None)


def _in_force(
    held: tuple[int, bytes, UnixMs, UnixMs] | None, now: int
) -> UnixMs | None:
    return held[3] if held is not None and held[2] <= now < held[3] else None
