"""The cast: what each role does otherwise than an honest node. A few lines each.

Every role runs the production core; what makes it hostile stands between the
core and the network, where a real attacker would change it.
"""

from typing import Final, Protocol

import attrs

from gossip.errors import PeerError
from gossip.ledger.feed import read_batch_untrusted
from gossip.spread import frames
from gossip.units import NodeId


class Role(Protocol):
    """How a node differs from the product.

    Attributes:
        honest: Counts where promises are made to honest nodes.
        detects_ms: How long after the fact it reports what it saw.
        junk_per_s: How much garbage it sends to each link, uninvited.
    """

    @property
    def honest(self) -> bool: ...

    @property
    def detects_ms(self) -> int: ...

    @property
    def junk_per_s(self) -> int: ...

    def passes(self, me: NodeId, frame: bytes) -> bool:
        """Whether a frame that its core sends really goes out."""
        ...


@attrs.frozen(kw_only=True)
class Honest:
    """As shipped."""

    honest: bool = True
    detects_ms: int = 50
    junk_per_s: int = 0

    def passes(self, me: NodeId, frame: bytes) -> bool:
        """Everything."""
        del me, frame
        return True


@attrs.frozen(kw_only=True)
class Dropper(Honest):
    """Receives everything, speaks for itself, and passes nothing on."""

    def passes(self, me: NodeId, frame: bytes) -> bool:
        """Its own batches only, and what is not a batch."""
        return _author(frame) in (None, me)


@attrs.frozen(kw_only=True)
class Mute(Honest):
    """Listens, and never sends anything."""

    def passes(self, me: NodeId, frame: bytes) -> bool:
        """Nothing."""
        del me, frame
        return False


ROLES: Final[dict[str, Role]] = {
    "honest": Honest(),
    "slow": Honest(detects_ms=5_000),
    "dropper": Dropper(honest=False),
    "mute": Mute(honest=False),
    "flooder": Honest(honest=False, junk_per_s=100),
    # These lie only where the story tells them to.
    "liar": Honest(honest=False),
    "attacker": Honest(honest=False),
}
"""By the name that scenario files use. ``slow`` is an honest, slow detector."""


def _author(frame: bytes) -> NodeId | None:
    """Who wrote the batch that a frame carries; None if it carries none."""
    try:
        read = frames.read_frame_untrusted(frame)
        if isinstance(read, frames.Push):
            return read_batch_untrusted(read.batch).author
    except PeerError:
        pass
    return None
