"""What the simulator expects of so many daemons on one machine, once it is calibrated."""

import random
from collections import deque
from typing import Final

import attrs

from enforcement.decide.rulings import Ruling
from gossip import effects, events
from gossip.ledger.entries import Entry, EntryKind
from gossip.units import EntryId
from scenarios.calibration import Calibration, calibrated
from scenarios.citizen import Citizen
from scenarios.onlooker import Onlooker
from scenarios.run import run
from scenarios.script import Cluster, Delay, NetworkPlan, Scenario, Some, Step
from scenarios.world import World

WARM: Final = 20
"""Reports that are not counted: the tree grows."""
_BEGIN_S: Final = 5.0


@attrs.define
class Spreading:
    """How soon each report was held by all. Implements `scenarios.onlooker.Onlooker`."""

    world: World
    _said_us: dict[int, deque[int]] = attrs.field(init=False, factory=dict)
    _born_us: dict[EntryId, int] = attrs.field(init=False, factory=dict)
    _durable_us: dict[EntryId, int] = attrs.field(init=False, factory=dict)
    _held_us: dict[EntryId, list[int]] = attrs.field(init=False, factory=dict)

    def to_all_ms(self, warm: int) -> list[float]:
        """For each report but the first ``warm``: from asked for to held by the last."""
        others = len(self.world.citizens) - 1
        return [
            (max(self._held_us[key]) - born) / 1_000
            for key, born in [*self._born_us.items()][warm:]
            if len(self._held_us.get(key, ())) == others
        ]

    def hops_us(self, warm: int) -> list[int]:
        """Of each report but the first ``warm``: from durable to held, each other node."""
        return [
            at_us - durable
            for key, durable in [*self._durable_us.items()][warm:]
            for at_us in self._held_us.get(key, ())
        ]

    def ways_us(self) -> list[list[int]]:
        """For each report, the first first: from asked for to held, each other node."""
        return [
            [at_us - born for at_us in self._held_us[key]]
            for key, born in self._born_us.items()
        ]

    def said(self, citizen: Citizen, kind: int) -> None:
        """Remember when, until it is known as which entry."""
        if kind == EntryKind.REPORT:
            now_us = self.world.agenda.now_us
            self._said_us.setdefault(citizen.index, deque()).append(now_us)

    def admitted(self, citizen: Citizen, entry: Entry) -> None:
        """It is held once the processor is done with the frame that brought it."""
        if entry.kind != EntryKind.REPORT:
            return
        if entry.author == citizen.node:
            self._born_us[entry.id] = self._said_us[citizen.index].popleft()
            self._durable_us[entry.id] = self.world.agenda.now_us
        else:
            done_us = max(self.world.agenda.now_us, citizen.busy_us)
            self._held_us.setdefault(entry.id, []).append(done_us)

    def handled(self, citizen: Citizen, event: events.Event) -> None:
        """Not of interest."""

    def noted(self, citizen: Citizen, note: effects.Note) -> None:
        """Not of interest."""

    def ruled(self, citizen: Citizen, ruling: Ruling) -> None:
        """Not of interest."""

    def happened(self, who: str, what: str) -> None:
        """Not of interest."""


def predict_to_all_ms(
    nodes: int, found: Calibration, *, reports: int, per_s: float
) -> list[float]:
    """For each of ``reports``: milliseconds until the last of ``nodes`` daemons holds it.

    They are said by one node or another, ``per_s`` in a second, on loopback.
    """
    return _spread(nodes, found, reports, per_s).to_all_ms(WARM)


def predict_hops_us(
    nodes: int, found: Calibration, *, reports: int, per_s: float
) -> list[int]:
    """The same from durable at the author to held by another, each pair."""
    return _spread(nodes, found, reports, per_s).hops_us(WARM)


def _spread(nodes: int, found: Calibration, reports: int, per_s: float) -> Spreading:
    chance, at_s = random.Random(1), _BEGIN_S  # noqa: S311 - replayable
    story = []
    for _ in range(WARM + reports):
        who = (Some(f"honest-{chance.randrange(nodes)}"),)
        story.append(Step(at_s=at_s, does="report", who=who))
        at_s += chance.expovariate(per_s)
    scenario = Scenario(
        title="reports among daemons on one machine",
        nodes=(("honest", nodes),),
        length_s=at_s + 2.0,
        cluster=Cluster(opens="all"),
        network=NetworkPlan(delay=Delay(min_ms=0.0, mean_ms=0.0)),
        story=tuple(story),
    )
    watching: list[Spreading] = []

    def onlookers(world: World) -> list[Onlooker]:
        watching.append(Spreading(world))
        return [*watching]

    run(calibrated(scenario, found), 1, onlookers=onlookers)
    return watching[0]
