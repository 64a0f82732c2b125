"""The simulated network: when a frame arrives, if at all, and what is cut.

A link is a stream, as the real ones are: in order, and what gets lost is sent
again after a pause while the rest waits. ``datagrams`` takes that away, which
is harsher than anything a link does.
"""

import random
from typing import Final

import attrs

from scenarios.agenda import Agenda
from scenarios.geography import way_us
from scenarios.script import NetworkPlan

RESEND_US: Final = 200_000
STALLED_FRAMES_MAX: Final = 1_024


@attrs.define(eq=False)
class Link:
    """One direction between two nodes. A new link is a new object."""

    src: int
    dst: int
    way_us: int
    """How long everything takes at least."""
    free_us: int = 0
    """When the frame before arrives."""
    is_up: bool = True
    back: "Link | None" = attrs.field(default=None, repr=False)
    """The same link in the other direction."""
    stalled: list[bytes] = attrs.field(factory=list)
    """What waits for a partition to heal, or for the link to be given up."""


def ways_us(plan: NetworkPlan) -> dict[tuple[str, str], int]:
    """One way between any two of the cities, in microseconds; as given, or computed."""
    given = {frozenset(pair.split()): round(ms * 1_000) for pair, ms in plan.ways_ms}
    return {
        (one, other): given[pair]
        if (pair := frozenset((one, other))) in given
        else way_us(one, other)
        for one in plan.cities
        for other in plan.cities
    }


@attrs.define
class Network:
    """All chance of the network comes from ``rng``."""

    plan: NetworkPlan
    agenda: Agenda
    rng: random.Random
    loss: float = attrs.field(init=False)
    duplicate: float = attrs.field(init=False)
    _side: dict[int, int] = attrs.field(init=False, factory=dict)
    deaf: set[int] = attrs.field(init=False, factory=set)
    _uplink_free_us: dict[int, int] = attrs.field(init=False, factory=dict)
    _ways: dict[tuple[str, str], int] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self.loss, self.duplicate = self.plan.loss, self.plan.duplicate
        self._ways = ways_us(self.plan)

    def link(self, src: int, dst: int) -> Link:
        """A fresh link."""
        least = round(self.plan.delay.min_ms * 1_000)
        cities = self.plan.cities
        if cities:
            least += self._ways[cities[src % len(cities)], cities[dst % len(cities)]]
        return Link(src, dst, least)

    def part(self, sides: list[set[int]]) -> None:
        """Let nothing pass between the sides; who is on none hears everybody."""
        self._side = {node: i for i, side in enumerate(sides) for node in side}

    def heal(self) -> None:
        """End partitions and deafness."""
        self._side = {}
        self.deaf = set()

    def calm(self) -> None:
        """End every fault: from here on the network does its best."""
        self.heal()
        self.loss = self.duplicate = 0.0

    def is_cut(self, src: int, dst: int) -> bool:
        """Whether nothing sent now from ``src`` reaches ``dst``."""
        if dst in self.deaf:
            return True
        if not self._side:
            return False
        one, other = self._side.get(src), self._side.get(dst)
        return one is not None and other is not None and one != other

    def carry(self, link: Link, frame: bytes, leave_us: int) -> tuple[int, ...]:
        """Send a frame; each time at which it arrives."""
        if self.is_cut(link.src, link.dst):
            if len(link.stalled) < STALLED_FRAMES_MAX and not self.plan.datagrams:
                link.stalled.append(frame)
            return ()
        if self.plan.uplink_mbit is not None:
            begin = max(leave_us, self._uplink_free_us.get(link.src, 0))
            leave_us = begin + round(len(frame) * 8 / self.plan.uplink_mbit)
            self._uplink_free_us[link.src] = leave_us
        due = leave_us + self._delay_us(link)
        if self.plan.datagrams:
            lost = self.loss and self.rng.random() < self.loss
            arrives: tuple[int, ...] = () if lost else (due,)
        else:
            while self.loss and self.rng.random() < self.loss:
                due += RESEND_US
            link.free_us = due = max(due, link.free_us)
            arrives = (due,)
        if self.duplicate and self.rng.random() < self.duplicate:
            arrives += (due + self._delay_us(link),)
        return arrives

    def _delay_us(self, link: Link) -> int:
        delay = self.plan.delay
        spread = (delay.mean_ms - delay.min_ms) * 1_000
        return link.way_us + (round(self.rng.expovariate(1 / spread)) if spread else 0)
