"""One simulated node: the production cores, and what a daemon would hold."""

import random

import attrs

from enforcement.decide.court import Court
from gossip.engine import Engine
from gossip.ledger.batch import Batch, FeedId
from gossip.suite import SigningKey
from gossip.units import KeyId, NodeId, UnixMs
from scenarios.cast import Role
from scenarios.network import Link
from scenarios.people import DAWN_MS, Person


@attrs.define
class LocalClock:
    """What a node takes for the time: wrong by an offset, running wrong by a drift."""

    offset_ms: int = 0
    drift_ppm: int = 0

    def unix_ms(self, now_us: int) -> UnixMs:
        """The time this clock shows at a true time."""
        shown_us = now_us + now_us * self.drift_ppm // 1_000_000
        return UnixMs(DAWN_MS + self.offset_ms + shown_us // 1_000)

    def true_us(self, at_ms: int) -> int:
        """The first true time at which this clock shows ``at_ms``."""
        shown_us = (at_ms - DAWN_MS - self.offset_ms) * 1_000
        return -(-shown_us * 1_000_000 // (1_000_000 + self.drift_ppm))


@attrs.define
class Disk:
    """Batches as stored, in order; what a restarted node is told first."""

    _held: dict[tuple[FeedId, int], tuple[bytes, bool]] = attrs.field(
        init=False, factory=dict
    )
    """Each with whether it outlives `forget`."""

    def put(self, batch: Batch) -> None:
        """Store one batch."""
        self._held[batch.feed, batch.number] = (batch.encoded, batch.lasting)

    def read(self, feed: FeedId, first: int, last: int) -> list[bytes]:
        """The batches ``first`` to ``last`` (included), as far as they are held."""
        places = ((feed, number) for number in range(first, last + 1))
        return [self._held[place][0] for place in places if place in self._held]

    def forget(self, feed: FeedId, before: int) -> None:
        """Drop what is before a number, unless it lasts."""
        for place, (_, lasting) in list(self._held.items()):
            if place[0] == feed and place[1] < before and not lasting:
                del self._held[place]

    def sizes(self) -> dict[tuple[FeedId, int], int]:
        """How many bytes each batch takes that is held."""
        return {place: len(encoded) for place, (encoded, _) in self._held.items()}

    def load(self) -> list[bytes]:
        """Everything, in the order in which it was stored."""
        return [encoded for encoded, _ in self._held.values()]


@attrs.define(eq=False)
class Citizen:
    """A node, up or down.

    Attributes:
        index: Its number; nodes are called by it wherever order matters.
        plays: The name of its role.
        opens: Whether it opens a feed of its own when it starts.
        engine, court: None while it is down.
        links: Who is linked now: what to send to them by.
        dials: Whom its core seeks; dialled until they are linked.
        refused: Whom its court lets make no link.
        busy_us: Until when its processor is occupied.
        factor: How many times slower than the others it is.
        began_ms: When it started last, by its own clock.
        life: Counts its starts; what was planned in an earlier life is void.
    """

    index: int
    who: Person
    plays: str
    role: Role
    opens: bool
    rng: random.Random = attrs.field(repr=False)
    keys: dict[KeyId, SigningKey] = attrs.field(factory=dict, repr=False)
    clock: LocalClock = attrs.field(factory=LocalClock)
    disk: Disk = attrs.field(factory=Disk)
    engine: Engine | None = None
    court: Court | None = None
    links: dict[int, Link] = attrs.field(factory=dict)
    dials: set[int] = attrs.field(factory=set)
    refused: set[int] = attrs.field(factory=set)
    busy_us: int = 0
    factor: float = 1.0
    began_ms: UnixMs = DAWN_MS
    life: int = 0
    turn: int = 0
    """Which operational key is in use."""
    engine_alarm_us: int | None = None
    court_alarm_us: int | None = None
    restoring: bool = False
    sent_bytes: int = 0

    @property
    def name(self) -> str:
        """As scenario files call it."""
        return self.who.name

    @property
    def node(self) -> NodeId:
        """Its id."""
        return self.who.node

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self.engine is not None

    @property
    def counts(self) -> bool:
        """Whether promises to honest nodes are promises to it now."""
        return self.role.honest and self.engine is not None
