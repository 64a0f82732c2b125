"""Taking back and asking again: retractions, appeals, and the answers to them.

An accused node is linked with nobody, so an appeal stands by itself: whoever is
handed it can check it and carry it in a feed of its own.
"""

from typing import Final

import attrs

from gossip import limits
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.ledger.entries import Subject, SubjectKind
from gossip.membership.identity import Chain, read_chain_untrusted
from gossip.membership.roster import Roster
from gossip.suite import SIGNATURE_BYTES, SigningKey, Suite, digest
from gossip.units import (
    ID_BYTES,
    INCARNATION_BYTES,
    UNIX_MS_MAX,
    ClusterId,
    NodeId,
    UnixMs,
)
from gossip.wire import (
    pack,
    take_bytes,
    take_int,
    take_list,
    take_str,
    unpack_untrusted,
)

REASON_CHARS_MAX: Final = 500
APPEAL_BYTES_MAX: Final = 8_192
"""The words of an appeal, in UTF-8."""
_VERSION: Final = 1


@attrs.frozen(kw_only=True)
class Retraction:
    """The author takes back a report of its own.

    Attributes:
        incarnation, number, index: Where in its feeds the report stands.
        subject: Whom the report was about.
    """

    incarnation: bytes = attrs.field(repr=bytes.hex)
    number: int
    index: int
    subject: Subject
    reason: str


def write_retraction(retraction: Retraction) -> bytes:
    """The body of a retraction entry."""
    r = retraction
    return pack(
        [
            _VERSION,
            r.incarnation,
            r.number,
            r.index,
            int(r.subject.kind),
            r.subject.id,
            r.reason[:REASON_CHARS_MAX],
        ]
    )


def read_retraction_untrusted(body: bytes) -> Retraction:
    """Read a retraction.

    Raises:
        PeerError: malformed.
    """
    f = take_list(unpack_untrusted(body, limits.ENTRY_BODY_BYTES_MAX), 7, 7)
    take_int(f[0], _VERSION, _VERSION)
    return Retraction(
        incarnation=take_bytes(f[1], INCARNATION_BYTES, INCARNATION_BYTES),
        number=take_int(f[2], 0, UNIX_MS_MAX),
        index=take_int(f[3], 0, limits.BATCH_ENTRIES_MAX),
        subject=Subject(
            SubjectKind(take_int(f[4], 1, max(SubjectKind))),
            take_bytes(f[5], ID_BYTES, ID_BYTES),
        ),
        reason=take_str(f[6], 0, REASON_CHARS_MAX),
    )


@attrs.frozen(kw_only=True)
class Appeal:
    """A node asks that a quarantine of itself or of its agent be thought over.

    Attributes:
        id: Digest of what was signed.
        node: Who appeals; its chain is verified.
    """

    id: bytes = attrs.field(repr=bytes.hex)
    node: NodeId = attrs.field(repr=bytes.hex)
    subject: Subject
    issued_at_ms: UnixMs
    text: str


def sign_appeal(
    *,
    cluster: ClusterId,
    chain: Chain,
    key: SigningKey,
    subject: Subject,
    issued_at_ms: UnixMs,
    text: str,
) -> bytes:
    """The body of an appeal entry, signed by the appellant's operational key."""
    signed = pack(
        [
            _VERSION,
            cluster,
            chain.node,
            chain.key,
            int(subject.kind),
            subject.id,
            issued_at_ms,
            text,
        ]
    )
    return pack([chain.encoded, signed, key.sign(signed, Domain.APPEAL)])


def peek_appeal_untrusted(body: bytes) -> tuple[NodeId, UnixMs]:
    """Who claims to appeal, and when: enough to refuse a flood before verifying.

    Raises:
        PeerError: malformed.
    """
    _, signed, _ = take_list(unpack_untrusted(body, limits.ENTRY_BODY_BYTES_MAX), 3, 3)
    fields = take_list(
        unpack_untrusted(take_bytes(signed, 1, limits.ENTRY_BODY_BYTES_MAX), 65_536),
        8,
        8,
    )
    node = NodeId(take_bytes(fields[2], ID_BYTES, ID_BYTES))
    return node, UnixMs(take_int(fields[6], 0, UNIX_MS_MAX))


def read_appeal_untrusted(body: bytes, roster: Roster, suite: Suite) -> Appeal:
    """Verify an appeal from its bytes and the roster alone.

    Raises:
        PeerError: malformed, too long, for another cluster, not signed by a
            member, or with a key that was not in force.
    """
    parts = take_list(unpack_untrusted(body, limits.ENTRY_BODY_BYTES_MAX), 3, 3)
    signed = take_bytes(parts[1], 1, limits.ENTRY_BODY_BYTES_MAX)
    f = take_list(unpack_untrusted(signed, limits.ENTRY_BODY_BYTES_MAX), 8, 8)
    take_int(f[0], _VERSION, _VERSION)
    if take_bytes(f[1], ID_BYTES, ID_BYTES) != roster.cluster:
        raise PeerError("an appeal of another cluster")
    text = take_str(f[7], 1, APPEAL_BYTES_MAX)
    if len(text.encode()) > APPEAL_BYTES_MAX:
        raise PeerError(f"an appeal of more than {APPEAL_BYTES_MAX} bytes")
    issued = UnixMs(take_int(f[6], 0, UNIX_MS_MAX))
    node = NodeId(take_bytes(f[2], ID_BYTES, ID_BYTES))
    roster.member(node)
    chain = read_chain_untrusted(take_bytes(parts[0], 1, limits.CHAIN_BYTES_MAX), suite)
    if chain.node != node or chain.key != f[3] or not chain.covers(issued):
        raise PeerError("an appeal not signed by a key of its node in force")
    signature = take_bytes(parts[2], SIGNATURE_BYTES, SIGNATURE_BYTES)
    suite.verify(chain.operational, signed, signature, Domain.APPEAL)
    return Appeal(
        id=digest(Domain.APPEAL_ID, signed),
        node=node,
        subject=Subject(
            SubjectKind(take_int(f[4], 1, max(SubjectKind))),
            take_bytes(f[5], ID_BYTES, ID_BYTES),
        ),
        issued_at_ms=issued,
        text=text,
    )


@attrs.frozen(kw_only=True)
class Answer:
    """What the author answers to an appeal; withdrawing is said by retractions."""

    appeal: bytes = attrs.field(repr=bytes.hex)
    upheld: bool
    reason: str


def write_answer(answer: Answer) -> bytes:
    """The body of an answer entry."""
    reason = answer.reason[:REASON_CHARS_MAX]
    return pack([_VERSION, answer.appeal, int(answer.upheld), reason])


def read_answer_untrusted(body: bytes) -> Answer:
    """Read an answer.

    Raises:
        PeerError: malformed.
    """
    f = take_list(unpack_untrusted(body, limits.ENTRY_BODY_BYTES_MAX), 4, 4)
    take_int(f[0], _VERSION, _VERSION)
    return Answer(
        appeal=take_bytes(f[1], ID_BYTES, ID_BYTES),
        upheld=bool(take_int(f[2], 0, 1)),
        reason=take_str(f[3], 0, REASON_CHARS_MAX),
    )
