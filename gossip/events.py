"""Everything that can happen to a node's engine."""

from typing import TypeAlias

import attrs

from gossip.ledger.batch import Batch
from gossip.membership.identity import Chain
from gossip.units import Incarnation, NodeId


@attrs.frozen
class Restored:
    """At start: a batch from the store, in the order it was stored."""

    batch: bytes = attrs.field(repr=False)


@attrs.frozen
class Opened:
    """The daemon is up: begin a fresh incarnation, signing with ``chain``'s key."""

    incarnation: Incarnation = attrs.field(repr=bytes.hex)
    chain: Chain


@attrs.frozen
class Rotated:
    """From now on the driver signs with ``chain``'s operational key."""

    chain: Chain


@attrs.frozen
class Say:
    """Append an entry to our own feed. ``kind`` is an `EntryKind`."""

    kind: int
    body: bytes = attrs.field(repr=lambda b: f"<{len(b)} bytes>")


@attrs.frozen
class Signed:
    """Answers `effects.Sign`."""

    body: bytes = attrs.field(repr=False)
    signature: bytes = attrs.field(repr=False)


@attrs.frozen
class Stored:
    """Answers `effects.Store` for an own batch: it is durable now."""

    batch_id: bytes = attrs.field(repr=bytes.hex)


@attrs.frozen
class Recalled:
    """Answers `effects.Recall`: what the store holds, and what it was asked for."""

    held: bytes = attrs.field(repr=False)
    other: Batch


@attrs.frozen
class Prune:
    """Retention: of our own feed ``incarnation`` keep from number ``keep`` on."""

    incarnation: Incarnation = attrs.field(repr=bytes.hex)
    keep: int


@attrs.frozen
class LinkUp:
    """A link to a member is established; ``chain`` is what it presented."""

    chain: Chain


@attrs.frozen
class LinkDown:
    """The link to ``peer`` is gone."""

    peer: NodeId = attrs.field(repr=bytes.hex)


@attrs.frozen
class Barred:
    """``peer`` is quarantined and may not be linked to, or may be again."""

    peer: NodeId = attrs.field(repr=bytes.hex)
    barred: bool


@attrs.frozen
class Frame:
    """Bytes arrived on the link to ``peer``."""

    peer: NodeId = attrs.field(repr=bytes.hex)
    data: bytes = attrs.field(repr=lambda b: f"<{len(b)} bytes>")


@attrs.frozen
class Frames:
    """Several frames that wait, in order of arrival. One by one is the same, slower:
    signatures that come together are checked together.

    Attributes:
        more: How many frames wait behind these.
    """

    arrived: tuple[Frame, ...]
    more: int = 0


@attrs.frozen
class Verified:
    """Answers `effects.Verify`: for each claim whether its signature holds."""

    ticket: int
    holds: tuple[bool, ...]


@attrs.frozen
class Woken:
    """The time asked for by `effects.WakeAt` has come."""


Event: TypeAlias = (
    Restored
    | Opened
    | Rotated
    | Say
    | Signed
    | Stored
    | Recalled
    | Prune
    | LinkUp
    | LinkDown
    | Barred
    | Frame
    | Frames
    | Verified
    | Woken
)
