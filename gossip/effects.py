"""Everything an engine may ask its driver to do."""

from enum import StrEnum
from typing import Final, TypeAlias

import attrs

from gossip.domains import Domain
from gossip.ledger.batch import Batch
from gossip.ledger.entries import Entry
from gossip.suite import Claim
from gossip.units import Incarnation, KeyId, NodeId, UnixMs

VERIFY_FEW: Final = 32
"""Where fewer signatures wait than this, they are checked at once, by the core."""
VERIFY_MAX: Final = 32
"""What one `Verify` asks at most: its answer is taken in without a pause."""


@attrs.frozen
class Sign:
    """Sign ``body`` with the operational key ``key``; answer with `events.Signed`.

    After a rotation one batch may still be under way with the key before it.
    """

    body: bytes = attrs.field(repr=False)
    context: Domain
    key: KeyId = attrs.field(repr=bytes.hex)


@attrs.frozen
class Verify:
    """Check signatures of which many wait; answer with `events.Verified`.

    The mathematics is ours to call; that it would hold up everybody else's
    events for milliseconds is the driver's business, who gathers what several
    of these ask and checks it beside the event loop.
    """

    ticket: int
    claims: tuple[Claim, ...] = attrs.field(repr=lambda c: f"<{len(c)} claims>")


@attrs.frozen
class Store:
    """Make ``batch`` durable. If ``own``, answer with `events.Stored`."""

    batch: Batch
    own: bool


@attrs.frozen
class Send:
    """Put ``frame`` on the link to ``peer``; drop it if the link is gone."""

    peer: NodeId = attrs.field(repr=bytes.hex)
    frame: bytes = attrs.field(repr=lambda b: f"<{len(b)} bytes>")


@attrs.frozen
class SendStored:
    """Send batches ``first`` to ``last`` (included) of a feed from the store.

    Each goes out as the frame that `gossip.spread.frames.give` makes of it. All
    of them were handed to `Store` before; wait for those still on their way.
    """

    peer: NodeId = attrs.field(repr=bytes.hex)
    author: NodeId = attrs.field(repr=bytes.hex)
    incarnation: Incarnation = attrs.field(repr=bytes.hex)
    first: int
    last: int


@attrs.frozen
class Forget:
    """Batches of a feed before number ``before`` need not be kept, unless they
    are `Batch.lasting`."""

    author: NodeId = attrs.field(repr=bytes.hex)
    incarnation: Incarnation = attrs.field(repr=bytes.hex)
    before: int


@attrs.frozen
class Recall:
    """Fetch batch ``number`` of ``other``'s feed; answer `events.Recalled`."""

    number: int
    other: Batch


@attrs.frozen
class Seek:
    """Keep dialling exactly these peers until they are linked, and again when
    a link breaks. A link to anybody else may be closed, unless it is needed for
    something other than gossip."""

    peers: frozenset[NodeId]


@attrs.frozen
class CloseLink:
    """``peer`` broke the protocol: close the link to it."""

    peer: NodeId = attrs.field(repr=bytes.hex)
    why: str


@attrs.frozen
class Admitted:
    """An entry entered the ledger: act on it. Each entry exactly once a run."""

    entry: Entry


@attrs.frozen
class WakeAt:
    """Send `events.Woken` at this time. A later one replaces an earlier one."""

    at_ms: UnixMs


class Fact(StrEnum):
    """What happened, for metrics and logs."""

    BATCH_ACCEPTED = "accepted"
    BATCH_KNOWN = "known"
    BATCH_IGNORED = "ignored"
    BATCH_REJECTED = "rejected"
    BATCH_DELAYED = "delayed"
    BATCH_PARKED = "parked"
    BATCH_FORKED = "forked"


@attrs.frozen
class Note:
    """Something worth counting; ``why`` is a sentence when there is one."""

    fact: Fact
    peer: NodeId | None
    author: NodeId | None = None
    why: str = ""


Effect: TypeAlias = (
    Sign
    | Verify
    | Store
    | Forget
    | Recall
    | Send
    | SendStored
    | Seek
    | CloseLink
    | Admitted
    | WakeAt
    | Note
)
