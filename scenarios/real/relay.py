"""The relay: carries packets between the nodes' TUN devices, shaped as a plan says.

A process of its own, so that whoever conducts the scenario does not hold up the
packets. `main` reads one JSON object a line from stdin, and ends with it. Delays,
order and partitions are those of the simulated network (`scenarios.network`);
what is lost is lost, since the nodes' own TCP sends it again.
"""

import heapq
import json
import os
import random
import select
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter_ns
from typing import Final

import attrs

from scenarios.agenda import Agenda
from scenarios.network import Link, Network
from scenarios.reading import load
from scenarios.script import NetworkPlan

PACKET_BYTES_MAX: Final = 65_536
WAITING_MAX: Final = 20_000
"""Packets under way; more are lost, as in a full queue."""
_BURST: Final = 64
_DESTINATION: Final = slice(16, 20)


@attrs.define
class Relay:
    """Who is connected where, and what is under way.

    Attributes:
        tuns: A file descriptor for each node, by its number.
        addresses: Four bytes each, in the same order. What follows the last node
            is the desk, from which the scenario is conducted: nothing is in its way.
    """

    network: Network
    rng: random.Random
    tuns: Sequence[int]
    addresses: dict[bytes, int]
    desk: int
    loss: float
    _losses: dict[int, float] = attrs.field(init=False, factory=dict)
    """What the story adds; the latest counts."""
    _links: dict[tuple[int, int], Link] = attrs.field(init=False, factory=dict)
    _under_way: list[tuple[int, int, int, bytes]] = attrs.field(
        init=False, factory=list
    )
    _count: int = attrs.field(init=False, default=0)

    def take(self, source: int, packet: bytes, now_us: int) -> None:
        """A node sent a packet: say when it arrives, if it does."""
        if len(packet) < 20 or packet[0] >> 4 != 4:
            return
        target = self.addresses.get(packet[_DESTINATION])
        if target is None or target == source:
            return
        due: tuple[int, ...] = (now_us,)
        if self.desk not in (source, target):
            if self.network.is_cut(source, target):
                return
            loss = [self.loss, *self._losses.values()][-1]
            if loss and self.rng.random() < loss:
                return
            place = (source, target)
            link = self._links.get(place)
            if link is None:
                link = self._links[place] = self.network.link(source, target)
            due = self.network.carry(link, packet, now_us)
        for at_us in due:
            if len(self._under_way) < WAITING_MAX:
                self._count += 1
                heapq.heappush(self._under_way, (at_us, self._count, target, packet))

    def deliver(self, now_us: int) -> float | None:
        """Hand over what is due; returns seconds until the next, None if there is none."""
        waiting = self._under_way
        while waiting and waiting[0][0] <= now_us:
            _, _, target, packet = heapq.heappop(waiting)
            with suppress(OSError):  # its queue is full, or it is gone
                os.write(self.tuns[target], packet)
        return max(0.0, (waiting[0][0] - now_us) / 1e6) if waiting else None

    def obey(self, line: bytes) -> None:
        """Change the network, as one line of JSON says."""
        told = json.loads(line)
        match told["do"]:
            case "part":
                self.network.part(told["fault"], [set(side) for side in told["sides"]])
            case "deafen":
                self.network.deafen(told["fault"], set(told["who"]))
            case "lose":
                self._losses[told["fault"]] = told["share"]
            case "heal":
                self.network.heal(told["fault"])
                self._losses.pop(told["fault"], None)
            case "calm":
                self.network.calm()
                self._losses = {}
                self.loss = 0.0
            case unknown:
                raise ValueError(unknown)

    def read(self, source: int, now_us: int) -> None:
        """Take what one node has sent, a burst at most."""
        for _ in range(_BURST):
            try:
                packet = os.read(self.tuns[source], PACKET_BYTES_MAX)
            except OSError:
                return
            self.take(source, packet, now_us)


def make_relay(
    plan: NetworkPlan, seed: int, tuns: Sequence[int], addresses: Sequence[bytes]
) -> Relay:
    """A relay for nodes and, last, the desk."""
    rng = random.Random(f"{seed} relay")  # noqa: S311 - shapes, protects nothing
    # Streams: what overtakes is no fault of a link. Loss is decided per packet here.
    network = Network(attrs.evolve(plan, datagrams=False, loss=0.0), Agenda(), rng)
    return Relay(
        network=network,
        rng=rng,
        tuns=tuns,
        addresses={address: i for i, address in enumerate(addresses)},
        desk=len(tuns) - 1,
        loss=plan.loss,
    )


def serve(relay: Relay) -> None:
    """Carry until stdin ends."""
    stdin, told = sys.stdin.fileno(), b""
    numbers = {tun: i for i, tun in enumerate(relay.tuns)}
    patience: float | None = None
    while True:
        ready, _, _ = select.select([stdin, *numbers], [], [], patience)
        now_us = perf_counter_ns() // 1_000
        for file in ready:
            if file == stdin:
                more = os.read(stdin, PACKET_BYTES_MAX)
                if not more:
                    return
                *lines, told = (told + more).split(b"\n")
                for line in lines:
                    relay.obey(line)
            else:
                relay.read(numbers[file], now_us)
        patience = relay.deliver(perf_counter_ns() // 1_000)


def main(words: Sequence[str]) -> None:
    """``FILE SEED FD:ADDRESS…``: the scenario with the network's plan, and the wires."""
    file, seed, *wires = words
    pairs = [wire.split(":") for wire in wires]
    serve(
        make_relay(
            load(str(Path(file))).network,
            int(seed),
            [int(tun) for tun, _ in pairs],
            [bytes(map(int, address.split("."))) for _, address in pairs],
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
