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
    _sides: dict[int, dict[int, int]] = attrs.field(init=False, factory=dict)
    """Of each partition: who is on which side."""
    _deaf: dict[int, set[int]] = attrs.field(init=False, factory=dict)
    _losses: dict[int, float] = attrs.field(init=False, factory=dict)
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

    def part(self, fault: int, sides: list[set[int]]) -> None:
        """Let nothing pass between the sides; who is on none hears everybody.

        ``fault`` is a number of the caller's by which `heal` ends this and nothing
        else: faults that overlap add up.
        """
        self._sides[fault] = {node: i for i, side in enumerate(sides) for node in side}

    def deafen(self, fault: int, nodes: set[int]) -> None:
        """Let nothing reach these nodes."""
        self._deaf[fault] = nodes

    def lose(self, fault: int, share: float) -> None:
        """Lose this share of frames; of several faults the latest counts."""
        self._losses[fault] = self.loss = share

    def heal(self, fault: int) -> None:
        """End one fault; nothing, if it is over."""
        self._sides.pop(fault, None)
        self._deaf.pop(fault, None)
        if self._losses.pop(fault, None) is not None:
            self.loss = [self.plan.loss, *self._losses.values()][-1]

    def calm(self) -> None:
        """End every fault for good: from here on the network does its best."""
        self._sides, self._deaf, self._losses = {}, {}, {}
        self.loss = self.duplicate = 0.0

    def is_cut(self, src: int, dst: int) -> bool:
        """Whether nothing sent now from ``src`` reaches ``dst``."""
        if self._deaf and any(dst in deaf for deaf in self._deaf.values()):
            return True
        for side in self._sides.values():
            one, other = side.get(src), side.get(dst)
            if one is not None and other is not None and one != other:
                return True
        return False

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
