"""Batches: what a node says at one time, under one signature.

::

    header: author, incarnation, number, previous, issued at, key, digest ◀─┐
    signature over the header                                               │
    entries ────────────────────────────────────────────────────────────────┘

The header is what is signed, so two headers alone can prove that their author
says one thing to some and another to others.
"""

from typing import Final

import attrs

from gossip import limits
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.ledger.entries import (
    Entry,
    EntryKind,
    Proof,
    Report,
    read_known_untrusted,
)
from gossip.suite import SIGNATURE_BYTES, digest
from gossip.units import (
    ID_BYTES,
    INCARNATION_BYTES,
    UNIX_MS_MAX,
    ClusterId,
    EntryId,
    Incarnation,
    KeyId,
    NodeId,
    UnixMs,
)
from gossip.wire import Value, pack, take_bytes, take_int, take_list, unpack_untrusted

_VERSION = 1
_HEADER_BYTES_MAX = 512
NO_PREVIOUS = bytes(ID_BYTES)
FeedId = tuple[NodeId, Incarnation]
_LASTING: Final = (
    EntryKind.KEYS,
    EntryKind.ACT,
    EntryKind.CHECKPOINT,
    EntryKind.ENDORSEMENT,
)


@attrs.frozen(kw_only=True)
class Batch:
    """One batch as read; its signature may or may not have been verified.

    Attributes:
        id: Digest of the header, never of the (randomised) signature.
        previous: Id of the batch before it, zeros for number 0.
        key: Reference to the operational key that signed.
        header: The bytes that are signed.
        encoded: The bytes that travel: header, signature and entries.
    """

    id: bytes = attrs.field(repr=bytes.hex)
    cluster: ClusterId = attrs.field(repr=False)
    author: NodeId = attrs.field(repr=bytes.hex)
    incarnation: Incarnation = attrs.field(repr=bytes.hex)
    number: int
    previous: bytes = attrs.field(repr=False)
    issued_at_ms: UnixMs
    key: KeyId = attrs.field(repr=False)
    entries: tuple[Entry, ...] = attrs.field(repr=lambda e: f"<{len(e)} entries>")
    header: bytes = attrs.field(repr=False)
    signature: bytes = attrs.field(repr=False)
    encoded: bytes = attrs.field(repr=False)

    @property
    def feed(self) -> FeedId:
        """Which feed it belongs to."""
        return (self.author, self.incarnation)

    @property
    def lasting(self) -> bool:
        """Whether it is kept although its feed was pruned: key chains, operators'
        acts, proofs, endorsements, and the checkpoints that what remains rests on."""
        return any(
            entry.kind in _LASTING
            or (
                isinstance(entry.said, Report)
                and isinstance(entry.said.evidence, Proof)
            )
            for entry in self.entries
        )


@attrs.frozen
class Draft:
    """A batch before it is signed: sign ``header`` (context `Domain.BATCH`)."""

    header: bytes = attrs.field(repr=False)
    entries: bytes = attrs.field(repr=False)

    def join(self, signature: bytes) -> bytes:
        """The batch as it travels and is stored."""
        return pack([self.header, signature, self.entries])


def draft_batch(
    *,
    cluster: ClusterId,
    author: NodeId,
    incarnation: Incarnation,
    number: int,
    previous: bytes,
    issued_at_ms: UnixMs,
    key: KeyId,
    entries: list[tuple[int, bytes]],
) -> Draft:
    """Write down what is to be said next."""
    said: list[Value] = [[int(kind), body] for kind, body in entries]
    packed = pack(said)
    header = pack(
        [
            _VERSION,
            cluster,
            author,
            incarnation,
            number,
            previous,
            issued_at_ms,
            key,
            digest(Domain.ENTRIES, packed),
        ]
    )
    return Draft(header, packed)


@attrs.frozen(kw_only=True)
class Header:
    """The signed part of a batch, as read. Its signature is not verified here."""

    id: bytes = attrs.field(repr=bytes.hex)
    cluster: ClusterId = attrs.field(repr=False)
    author: NodeId = attrs.field(repr=bytes.hex)
    incarnation: Incarnation = attrs.field(repr=bytes.hex)
    number: int
    previous: bytes = attrs.field(repr=False)
    issued_at_ms: UnixMs
    key: KeyId = attrs.field(repr=False)
    entries_digest: bytes = attrs.field(repr=False)


def read_header_untrusted(data: bytes) -> Header:
    """Read a batch's header.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(unpack_untrusted(data, _HEADER_BYTES_MAX), 9, 9)
    take_int(fields[0], _VERSION, _VERSION)
    return Header(
        id=digest(Domain.BATCH_ID, data),
        cluster=ClusterId(take_bytes(fields[1], ID_BYTES, ID_BYTES)),
        author=NodeId(take_bytes(fields[2], ID_BYTES, ID_BYTES)),
        incarnation=Incarnation(
            take_bytes(fields[3], INCARNATION_BYTES, INCARNATION_BYTES)
        ),
        number=take_int(fields[4], 0, UNIX_MS_MAX),
        previous=take_bytes(fields[5], ID_BYTES, ID_BYTES),
        issued_at_ms=UnixMs(take_int(fields[6], 0, UNIX_MS_MAX)),
        key=KeyId(take_bytes(fields[7], ID_BYTES, ID_BYTES)),
        entries_digest=take_bytes(fields[8], ID_BYTES, ID_BYTES),
    )


def read_batch_untrusted(data: bytes) -> Batch:
    """Read a batch. Verifies its form and its digest, not its signature.

    Raises:
        PeerError: malformed, too large, a known entry kind is malformed, or
            the entries are not those that the header names.
    """
    parts = take_list(unpack_untrusted(data, limits.BATCH_BYTES_MAX), 3, 3)
    signed = take_bytes(parts[0], 1, _HEADER_BYTES_MAX)
    signature = take_bytes(parts[1], SIGNATURE_BYTES, SIGNATURE_BYTES)
    packed = take_bytes(parts[2], 1, limits.BATCH_BYTES_MAX)
    header = read_header_untrusted(signed)
    if digest(Domain.ENTRIES, packed) != header.entries_digest:
        raise PeerError("the entries are not those that were signed")
    said = take_list(
        unpack_untrusted(packed, limits.BATCH_BYTES_MAX), 1, limits.BATCH_ENTRIES_MAX
    )
    return Batch(
        id=header.id,
        cluster=header.cluster,
        author=header.author,
        incarnation=header.incarnation,
        number=header.number,
        previous=header.previous,
        issued_at_ms=header.issued_at_ms,
        key=header.key,
        entries=tuple(_read_entry(item, header, i) for i, item in enumerate(said)),
        header=signed,
        signature=signature,
        encoded=data,
    )


def _read_entry(item: Value, header: Header, index: int) -> Entry:
    kind_value, body_value = take_list(item, 2, 2)
    kind = take_int(kind_value, 1, 2**16)
    body = take_bytes(body_value, 0, limits.ENTRY_BODY_BYTES_MAX)
    said = read_known_untrusted(kind, body)
    return Entry(
        id=EntryId(digest(Domain.ENTRY_ID, header.id, index.to_bytes(4, "big"))),
        author=header.author,
        incarnation=header.incarnation,
        number=header.number,
        index=index,
        issued_at_ms=header.issued_at_ms,
        kind=kind,
        body=body,
        said=said,
    )
