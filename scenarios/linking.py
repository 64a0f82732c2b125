"""Who is joined to whom: dialling, noticing that a link is gone, dialling again.

Stands in for the daemon's links, with their pauses: a closed connection is
noticed at once, a silent one after `SILENCE_US`.
"""

import random
from functools import partial
from typing import Final

import attrs

from gossip import events
from scenarios.casting import besieged
from scenarios.citizen import Citizen
from scenarios.network import Link
from scenarios.world import World

SILENCE_US: Final = 9_000_000
REDIAL_FIRST_US: Final = 100_000
REDIAL_MAX_US: Final = 10_000_000
HANDSHAKE_WAYS: Final = 6
"""TCP's three, and the last three of the handshake's four messages."""


@attrs.define
class Linking:
    """Keeps the links of a world. Implements `scenarios.world.Links`."""

    world: World
    _dialling: set[tuple[int, int]] = attrs.field(init=False, factory=set)
    _victim: set[int] = attrs.field(init=False, factory=set)
    """Whom stalkers want a link with."""

    def choose_victim(self, rng: random.Random) -> None:
        """Choose an honest node, whom all stalkers will besiege."""
        if victim := besieged(self.world.citizens, rng):
            self._victim = {victim.index}

    def seek(self, citizen: Citizen, peers: set[int]) -> None:
        """Keep links to exactly these: let go of others, dial who is new."""
        if citizen.role.stalks:
            peers = peers | self._victim
        was, citizen.dials = citizen.dials, peers
        for peer in sorted(was - peers):
            self.close(citizen, peer)
        for peer in sorted(peers - was):
            self._dial(citizen.index, peer)

    def stopped(self, citizen: Citizen) -> None:
        """Its peers notice as soon as the end of the connection reaches them."""
        links, citizen.links, citizen.dials = citizen.links, {}, set()
        for link in links.values():
            self._break(link)

    def close(self, citizen: Citizen, peer: int) -> None:
        """Close a link, as ``citizen`` wants it."""
        link = citizen.links.get(peer)
        if link is not None:
            self._end(citizen, peer, link)
            self._break(link)

    def check_silence(self) -> None:
        """Give up every link over which nothing has come for long."""
        network = self.world.network
        for citizen in self.world.citizens:
            for peer, link in list(citizen.links.items()):
                if network.is_cut(peer, citizen.index) or network.is_cut(
                    citizen.index, peer
                ):
                    self._end(citizen, peer, link)

    def resume(self) -> None:
        """Send what waited for a partition to heal."""
        for citizen in self.world.citizens:
            for peer, link in list(citizen.links.items()):
                waiting, link.stalled = link.stalled, []
                for frame in waiting:
                    self.world.send(
                        citizen,
                        self.world.citizens[peer].node,
                        frame,
                        self.world.agenda.now_us,
                    )

    def _break(self, link: Link) -> None:
        """Let the other side notice that the connection ended."""
        self.world.agenda.after(link.way_us, partial(self._notice, link))

    def _notice(self, link: Link) -> None:
        other, back = self.world.citizens[link.dst], link.back
        if back is None or other.links.get(link.src) is not back:
            return
        if self.world.network.is_cut(link.src, link.dst):
            # The end of the connection is lost too: silence will tell.
            self.world.agenda.after(SILENCE_US, partial(self._notice, link))
            return
        self._end(other, link.src, back)

    def _end(self, citizen: Citizen, peer: int, link: Link) -> None:
        del citizen.links[peer]
        if link.back is not None:
            link.back.is_up = False
        self.world.tell(citizen, events.LinkDown(self.world.citizens[peer].node))
        if peer in citizen.dials:
            self._dial(citizen.index, peer)

    def _dial(self, a: int, b: int) -> None:
        if (a, b) not in self._dialling:
            self._dialling.add((a, b))
            self._pause(a, b, 0)

    def _pause(self, a: int, b: int, failures: int) -> None:
        pause = min(REDIAL_FIRST_US << min(failures, 16), REDIAL_MAX_US)
        jitter = self.world.citizens[a].rng.uniform(0.5, 1.0)
        delay = round(pause * jitter) if failures else 0
        self.world.agenda.after(delay, partial(self._try, a, b, failures))

    def _try(self, a: int, b: int, failures: int) -> None:
        world = self.world
        one, other = world.citizens[a], world.citizens[b]
        if b not in one.dials or b in one.links:
            self._dialling.discard((a, b))
            return
        cut = world.network.is_cut(a, b) or world.network.is_cut(b, a)
        barred = b in one.refused or a in other.refused
        if cut or barred or not other.is_up or a in other.links:
            self._pause(a, b, failures + 1)
            return
        way = world.network.link(a, b).way_us
        lives = (one.life, other.life)
        world.agenda.after(way * HANDSHAKE_WAYS, partial(self._join, a, b, lives))

    def _join(self, a: int, b: int, lives: tuple[int, int]) -> None:
        one, other = self.world.citizens[a], self.world.citizens[b]
        network = self.world.network
        fails = (
            (one.life, other.life) != lives
            or not one.is_up
            or not other.is_up
            or b in one.refused
            or a in other.refused
            or network.is_cut(a, b)
            or network.is_cut(b, a)
        )
        if fails:
            self._pause(a, b, 1)
            return
        self._dialling.discard((a, b))
        there, back = network.link(a, b), network.link(b, a)
        there.back, back.back = back, there
        one.links[b], other.links[a] = there, back
        # Both before either speaks is not to be had: frames wait for the second.
        self.world.tell(one, events.LinkUp(other.who.chain))
        self.world.tell(other, events.LinkUp(one.who.chain))
