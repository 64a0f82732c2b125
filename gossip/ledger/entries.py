"""What can be said: the closed set of entry kinds, and how each is written.

An entry is a kind and a body. A kind from a newer version is stored and passed
on, and not acted upon, so that old nodes never break a feed.
"""

from enum import IntEnum
from typing import TypeAlias

import attrs

from gossip import limits
from gossip.units import (
    ID_BYTES,
    INCARNATION_BYTES,
    UNIX_MS_MAX,
    EntryId,
    Incarnation,
    NodeId,
    UnixMs,
)
from gossip.wire import (
    Value,
    pack,
    take_bytes,
    take_int,
    take_list,
    take_str,
    unpack_untrusted,
)


class EntryKind(IntEnum):
    """Numbers on the wire; never reused."""

    KEYS = 1
    """The author's key chain: opens an incarnation, or rotates within one."""
    REPORT = 2
    """What the author says it saw a subject do."""
    ACT = 3
    """What a quorum of operators decided; the author only carries it."""
    POLICY = 4
    """The digest of the policy bundle the author enforces from here on."""
    CHECKPOINT = 5
    """Where one of the author's own feeds may be begun; what precedes may go."""
    RETRACTION = 6
    """The author takes back what it reported before."""
    APPEAL = 7
    """What an accused node asks everybody; the author only carries it."""
    ANSWER = 8
    """What a reporter answers to an appeal."""
    MANIFEST = 9
    """The author provides this manifest of one of its servers from here on."""
    TOOLS = 10
    """What tools of a server declare that the author provides; not read here."""
    SEALED_TOOLS = 11
    """The same, for a few nodes only; the others carry it."""
    SEALING_KEY = 12
    """How to seal something to the author."""
    ENDORSEMENT = 13
    """The author endorses a newcomer's card."""
    AUDIT_HEAD = 14
    """Where the author's trail of decisions stands."""


class SubjectKind(IntEnum):
    """What a report can be about."""

    NODE = 1
    AGENT = 2
    ARTEFACT = 3
    SESSION = 4


@attrs.frozen(order=False, cache_hash=True)
class Subject:
    """Whom or what a report is about. Looked up a dozen times for each report."""

    kind: SubjectKind
    id: bytes = attrs.field(repr=bytes.hex)

    def __lt__(self, other: "Subject") -> bool:
        """By kind and id. By hand, since agendas compare many."""
        return (self.kind, self.id) < (other.kind, other.id)

    def __str__(self) -> str:
        return f"{self.kind.name.lower()}:{self.id.hex()}"


Place: TypeAlias = tuple[bytes, bytes, int, int]
"""Where an entry stands: author, incarnation, batch number, index."""


@attrs.frozen(kw_only=True)
class Entry:
    """One entry in its place in its author's feed.

    Attributes:
        id: Digest over place and body; the same at every node.
        index: Its position in its batch, from 0.
        issued_at_ms: The batch's stamp by the author's clock. A claim.
        kind: An `EntryKind`, or a number that a newer version defined.
    """

    id: EntryId = attrs.field(repr=bytes.hex)
    author: NodeId = attrs.field(repr=bytes.hex)
    incarnation: Incarnation = attrs.field(repr=bytes.hex)
    number: int
    index: int
    issued_at_ms: UnixMs
    kind: int
    body: bytes = attrs.field(repr=lambda b: f"<{len(b)} bytes>")
    said: "Keys | Report | Checkpoint | bytes | None" = attrs.field(
        default=None, eq=False, repr=False
    )
    """The body as read: a report, keys, a policy digest. None: not ours to read."""

    @property
    def feed(self) -> tuple[NodeId, Incarnation]:
        """Which feed it was said in."""
        return (self.author, self.incarnation)

    @property
    def place(self) -> Place:
        """Where it stands; the rest of `order`."""
        return (self.author, self.incarnation, self.number, self.index)

    @property
    def order(self) -> tuple[int, bytes, bytes, int, int]:
        """The one order in which every node folds entries."""
        return (
            self.issued_at_ms,
            self.author,
            self.incarnation,
            self.number,
            self.index,
        )


# --- keys ---------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Closing:
    """Where the author's previous incarnation ended, as far as it knows."""

    incarnation: Incarnation = attrs.field(repr=bytes.hex)
    next_number: int
    head: bytes = attrs.field(repr=bytes.hex)


@attrs.frozen(kw_only=True)
class Keys:
    """Body of `EntryKind.KEYS`. ``chain`` is still to be verified."""

    chain: bytes = attrs.field(repr=False)
    closes: Closing | None


def write_closing(closes: Closing | None) -> Value:
    """A closing as part of something larger."""
    if closes is None:
        return None
    return [closes.incarnation, closes.next_number, closes.head]


def read_closing_untrusted(value: Value) -> Closing | None:
    """Read what `write_closing` wrote.

    Raises:
        PeerError: malformed.
    """
    if value is None:
        return None
    parts = take_list(value, 3, 3)
    return Closing(
        incarnation=Incarnation(
            take_bytes(parts[0], INCARNATION_BYTES, INCARNATION_BYTES)
        ),
        next_number=take_int(parts[1], 0, UNIX_MS_MAX),
        head=take_bytes(parts[2], ID_BYTES, ID_BYTES),
    )


def write_keys(keys: Keys) -> bytes:
    """The body of a keys entry."""
    return pack([keys.chain, write_closing(keys.closes)])


def read_keys_untrusted(body: bytes) -> Keys:
    """Read a keys entry.

    Raises:
        PeerError: malformed.
    """
    chain, closing = take_list(
        unpack_untrusted(body, limits.ENTRY_BODY_BYTES_MAX), 2, 2
    )
    return Keys(
        chain=take_bytes(chain, 1, limits.CHAIN_BYTES_MAX),
        closes=read_closing_untrusted(closing),
    )


# --- reports ------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Witness:
    """What the reporter itself saw; it proves nothing to others.

    Attributes:
        digest: Digest of what was seen. Never a payload.
        count: How often, since the last report about this.
        first_ms, last_ms: When, by the reporter's clock.
    """

    digest: bytes = attrs.field(repr=bytes.hex)
    count: int
    first_ms: UnixMs
    last_ms: UnixMs


class ProofKind(IntEnum):
    """What a proof consists of. 0 on the wire is a witness's word."""

    DENIED_REQUEST = 1
    """A signed request that a hostile rule of the bundle it names denies."""
    EQUIVOCATION = 2
    """Two signed headers that cannot both be honest."""
    TWO_FACES = 3
    """Two signed manifests of one server, version and sequence."""


@attrs.frozen(kw_only=True)
class Proof:
    """Evidence that convicts by itself; opaque here, read by `decide`."""

    kind: ProofKind = ProofKind.DENIED_REQUEST
    data: bytes = attrs.field(repr=lambda b: f"<{len(b)} bytes>")


@attrs.frozen(kw_only=True)
class Report:
    """One reporter's claim about one subject.

    Attributes:
        category: A name from the published taxonomy, such as ``rate-abuse``.
        severity: 1 (odd) to 9 (hostile).
    """

    subject: Subject
    category: str
    severity: int
    evidence: Witness | Proof


_REPORT_VERSION = 1
_WITNESS = 0
_SUBJECT_KINDS = {int(kind): kind for kind in SubjectKind}


def write_report(report: Report) -> bytes:
    """The body of a report entry."""
    match report.evidence:
        case Witness() as w:
            evidence: list[Value] = [
                _WITNESS,
                pack([w.digest, w.count, w.first_ms, w.last_ms]),
            ]
        case Proof() as p:
            evidence = [int(p.kind), p.data]
    return pack(
        [
            _REPORT_VERSION,
            int(report.subject.kind),
            report.subject.id,
            report.category,
            report.severity,
            *evidence,
        ]
    )


def read_report_untrusted(body: bytes) -> Report:
    """Read a report. A proof inside is still to be verified.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(unpack_untrusted(body, limits.ENTRY_BODY_BYTES_MAX), 7, 7)
    take_int(fields[0], _REPORT_VERSION, _REPORT_VERSION)
    kind = _SUBJECT_KINDS[take_int(fields[1], 1, len(_SUBJECT_KINDS))]
    data = take_bytes(fields[6], 0, limits.ENTRY_BODY_BYTES_MAX)
    how = take_int(fields[5], _WITNESS, len(ProofKind))
    return Report(
        subject=Subject(kind, take_bytes(fields[2], ID_BYTES, ID_BYTES)),
        category=take_str(fields[3], 1, limits.NAME_CHARS_MAX),
        severity=take_int(fields[4], 1, 9),
        evidence=Proof(kind=ProofKind(how), data=data) if how else _read_witness(data),
    )


def _read_witness(data: bytes) -> Witness:
    fields = take_list(unpack_untrusted(data, limits.ENTRY_BODY_BYTES_MAX), 4, 4)
    first = take_int(fields[2], 0, UNIX_MS_MAX)
    return Witness(
        digest=take_bytes(fields[0], ID_BYTES, ID_BYTES),
        count=take_int(fields[1], 1, 2**32),
        first_ms=UnixMs(first),
        last_ms=UnixMs(take_int(fields[3], first, UNIX_MS_MAX)),
    )


# --- checkpoints --------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Checkpoint:
    """Body of `EntryKind.CHECKPOINT`: about a feed of the entry's own author.

    Attributes:
        number: The first batch that is still to be kept.
        previous: Id of the batch before it, so that what remains is still a
            chain that its author signed from end to end.
    """

    incarnation: Incarnation = attrs.field(repr=bytes.hex)
    number: int
    previous: bytes = attrs.field(repr=bytes.hex)


def write_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The body of a checkpoint entry."""
    return pack([checkpoint.incarnation, checkpoint.number, checkpoint.previous])


def read_checkpoint_untrusted(body: bytes) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(unpack_untrusted(body, limits.ENTRY_BODY_BYTES_MAX), 3, 3)
    return Checkpoint(
        incarnation=Incarnation(
            take_bytes(fields[0], INCARNATION_BYTES, INCARNATION_BYTES)
        ),
        number=take_int(fields[1], 1, UNIX_MS_MAX),
        previous=take_bytes(fields[2], ID_BYTES, ID_BYTES),
    )


# --- policy digest ------------------------------------------------------------


def write_policy(bundle_digest: bytes) -> bytes:
    """The body of a policy entry."""
    return pack([bundle_digest])


def read_policy_untrusted(body: bytes) -> bytes:
    """Read a policy entry: the 32-byte digest of a bundle.

    Raises:
        PeerError: malformed.
    """
    (value,) = take_list(unpack_untrusted(body, limits.ENTRY_BODY_BYTES_MAX), 1, 1)
    return take_bytes(value, ID_BYTES, ID_BYTES)


def read_known_untrusted(
    kind: int, body: bytes
) -> Keys | Report | Checkpoint | bytes | None:
    """Read a body of a kind we know, or refuse it; None for other kinds.

    Raises:
        PeerError: malformed. An act's and a chain's signatures, and a proof,
            are judged by those who act on them.
    """
    if kind == EntryKind.REPORT:
        return read_report_untrusted(body)
    if kind == EntryKind.KEYS:
        return read_keys_untrusted(body)
    if kind == EntryKind.POLICY:
        return read_policy_untrusted(body)
    if kind == EntryKind.CHECKPOINT:
        return read_checkpoint_untrusted(body)
    return None
