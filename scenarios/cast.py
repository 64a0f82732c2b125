"""The cast: what each role does otherwise than an honest node. A few lines each.

Every role runs the production core; what makes it hostile stands between the
core and the network, where a real attacker would change it.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final, Protocol

import attrs

from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.ledger.batch import Batch, draft_batch, read_batch_untrusted
from gossip.ledger.entries import EntryKind, write_policy
from gossip.spread import frames
from scenarios.people import Person
from scenarios.script import Some, Step

_RECENT: Final = 64
ON_OFF_US: Final = 7_000_000


class Role(Protocol):
    """How a node differs from the product."""

    @property
    def honest(self) -> bool:
        """Whether promises to honest nodes are made to it."""
        ...

    @property
    def detects_ms(self) -> int:
        """How long after the fact it reports what it saw."""
        ...

    @property
    def junk_per_s(self) -> int:
        """How many pieces of garbage it sends along each link, uninvited."""
        ...

    @property
    def habits(self) -> tuple[Step, ...]:
        """What it does by itself, in the words of a story; ``who`` is it."""
        ...

    @property
    def stalks(self) -> bool:
        """Whether it wants a link with one victim, the same as all its kind."""
        ...

    @property
    def equivocates(self) -> bool:
        """Whether it may tell two stories, so that somebody should look."""
        ...

    def sends(
        self, who: Person, peer: int, frame: bytes, now_us: int = 0
    ) -> bytes | None:
        """What really goes out to the node numbered ``peer``, if anything."""
        ...


@attrs.frozen(kw_only=True)
class Honest:
    """As shipped."""

    honest: bool = True
    detects_ms: int = 50
    junk_per_s: int = 0
    habits: tuple[Step, ...] = ()
    stalks: bool = False
    equivocates: bool = False

    def sends(
        self, who: Person, peer: int, frame: bytes, now_us: int = 0
    ) -> bytes | None:
        """What its core wants to send."""
        del who, peer, now_us
        return frame


@attrs.frozen(kw_only=True)
class Dropper(Honest):
    """Receives everything, speaks for itself, and passes nothing on."""

    def sends(
        self, who: Person, peer: int, frame: bytes, now_us: int = 0
    ) -> bytes | None:
        """Its own batches, and what carries none."""
        del peer, now_us
        batch = carried(frame)
        return frame if batch is None or batch.author == who.node else None


@attrs.frozen(kw_only=True)
class Mute(Honest):
    """Listens, and never sends anything."""

    def sends(
        self, who: Person, peer: int, frame: bytes, now_us: int = 0
    ) -> bytes | None:
        """Nothing."""
        del who, peer, frame, now_us
        return None


@attrs.frozen(kw_only=True)
class Braggart(Honest):
    """Announces at once all that it holds, and never delivers."""

    def sends(
        self, who: Person, peer: int, frame: bytes, now_us: int = 0
    ) -> bytes | None:
        """An id instead of each batch."""
        del peer, now_us
        batch = carried(frame)
        if batch is None or batch.author == who.node:
            return frame
        return frames.ihave([batch.id])


@attrs.frozen(kw_only=True)
class Sybil(Honest):
    """Takes up links, agrees that all is well, and passes on neither batch nor id."""

    def sends(
        self, who: Person, peer: int, frame: bytes, now_us: int = 0
    ) -> bytes | None:
        """Only what keeps the link: it never asks, tells or delivers."""
        del who, peer, now_us
        keeps = frames.read_frame_untrusted(frame)
        return frame if isinstance(keeps, frames.Graft | frames.Full) else None


@attrs.frozen(kw_only=True)
class OnOff(Sybil):
    """Passes everything on for a while, then is a Sybil as long, and so on."""

    def sends(
        self, who: Person, peer: int, frame: bytes, now_us: int = 0
    ) -> bytes | None:
        """By turns what it should, and what a Sybil does."""
        if now_us // ON_OFF_US % 2 == 0:
            return frame
        return super().sends(who, peer, frame, now_us)


@attrs.define(kw_only=True)
class Equivocator:
    """Tells every second peer another story, under the same number."""

    honest: bool = False
    detects_ms: int = 50
    junk_per_s: int = 0
    habits: tuple[Step, ...] = ()
    stalks: bool = False
    equivocates: bool = True
    _told: dict[bytes, int] = attrs.field(init=False, factory=dict)

    def sends(
        self, who: Person, peer: int, frame: bytes, now_us: int = 0
    ) -> bytes | None:
        """Two properly signed batches for one place, in turn."""
        del peer, now_us
        batch = carried(frame)
        if batch is None or batch.author != who.node or not batch.number:
            return frame
        turn = self._told[batch.id] = self._told.get(batch.id, -1) + 1
        return _twin(who, batch) if turn % 2 else frame


def _twin(who: Person, batch: Batch) -> bytes:
    """Another batch for the same place, properly signed."""
    other = draft_batch(
        cluster=batch.cluster,
        author=batch.author,
        incarnation=batch.incarnation,
        number=batch.number,
        previous=batch.previous,
        issued_at_ms=batch.issued_at_ms,
        key=batch.key,
        entries=[(EntryKind.POLICY, write_policy(batch.id))],
    )
    return frames.push(other.join(who.key.sign(other.header, Domain.BATCH)))


_LIE: Final = Step(at_s=0, does="accuse", whom=(Some("1 honest"),), severity=9)
"""About one honest node, the same for all of a role."""
_SLANDER: Final = (
    Step(at_s=2, does="forge", whom=(Some("1 honest"),), every_s=2),
    attrs.evolve(_LIE, at_s=3, every_s=3),
)
_PLAN: Final = (
    Step(at_s=1, does="report", every_s=2, times=4),
    attrs.evolve(_LIE, at_s=10, every_s=1, times=5),
    attrs.evolve(_LIE, at_s=20, every_s=1, times=5),
    attrs.evolve(_LIE, at_s=20, category="stale-policy", severity=7),
)
"""Make a good impression, fall upon one node together, then upon another."""

ROLES: Final[dict[str, Callable[[], Role]]] = {
    "honest": Honest,
    "slow": partial(Honest, detects_ms=5_000),
    "dropper": partial(Dropper, honest=False),
    "mute": partial(Mute, honest=False),
    "braggart": partial(Braggart, honest=False),
    "sybil": partial(Sybil, honest=False),
    "eclipser": partial(Sybil, honest=False, stalks=True),
    "on-off": partial(OnOff, honest=False),
    "flooder": partial(Honest, honest=False, junk_per_s=100),
    "slanderer": partial(Honest, honest=False, habits=_SLANDER),
    "colluder": partial(Honest, honest=False, habits=_PLAN),
    "equivocator": Equivocator,
    # These do harm only where the story tells them to.
    "covert": partial(Honest, honest=False),
    "liar": partial(Honest, honest=False),
    "attacker": partial(Honest, honest=False),
}
"""By the name that scenario files use. ``slow`` is an honest, slow detector."""


@lru_cache(_RECENT)
def carried(frame: bytes) -> Batch | None:
    """The batch that a frame carries, if it carries one."""
    try:
        read = frames.read_frame_untrusted(frame)
        if isinstance(read, frames.Push | frames.Give):
            return read_batch_untrusted(read.batch)
    except PeerError:
        pass
    return None
