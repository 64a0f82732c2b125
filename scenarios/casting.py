"""Casting: who takes part in each step of a story, chosen once, by name or by lot."""

import random
from collections.abc import Sequence

import attrs

from gossip.ledger.entries import Subject, SubjectKind
from scenarios.citizen import Citizen
from scenarios.expect import agent
from scenarios.script import SOME, Some, Step
from scenarios.verbs import VERBS


@attrs.frozen
class Cast:
    """Who takes part in one step; those under ``whom`` may be agents."""

    who: list[Citizen]
    whom: list[tuple[Subject, Citizen | None]]
    seen_by: list[Citizen]
    sides: list[set[int]]


def node_of(citizen: Citizen) -> Subject:
    """The citizen as the subject of a report."""
    return Subject(SubjectKind.NODE, citizen.node)


def besieged(citizens: Sequence[Citizen], rng: random.Random) -> Citizen | None:
    """The honest node, drawn by lot, that all who stalk besiege; None if nobody does."""
    if not any(citizen.role.stalks for citizen in citizens):
        return None
    return rng.choice([citizen for citizen in citizens if citizen.role.honest])


@attrs.frozen
class Casting:
    """Chooses among the citizens; whoever will speak opens a feed at start."""

    citizens: Sequence[Citizen]
    rng: random.Random = attrs.field(repr=False)

    def cast(self, step: Step) -> Cast:
        """Choose for a step, however often it is repeated."""
        cast = Cast(
            who=self._choose(step.who, but=self._choose(step.but)),
            whom=self._subjects(step.whom),
            seen_by=self._choose(step.seen_by),
            sides=self._sides(step.sides),
        )
        groups = {"who": cast.who, "seen_by": cast.seen_by}
        groups["whom"] = [citizen for _, citizen in cast.whom if citizen is not None]
        for key in VERBS[step.does].speaks:
            for citizen in groups[key]:
                citizen.opens = True
        return cast

    def _sides(self, sides: Sequence[Sequence[Some]]) -> list[set[int]]:
        chosen: list[Citizen] = []
        parts: list[set[int]] = []
        for side in sides:
            part = self._choose(side, but=chosen)
            chosen += part
            parts.append({c.index for c in part})
        return parts

    def _choose(
        self, some: Sequence[Some], but: Sequence[Citizen] = ()
    ) -> list[Citizen]:
        chosen: dict[int, Citizen] = {}
        for one in some:
            taken = [*but, *chosen.values()] if one.text == "the rest" else but
            for citizen in self._one(one.text, taken):
                chosen.setdefault(citizen.index, citizen)
        return [chosen[index] for index in sorted(chosen)]

    def _one(self, text: str, but: Sequence[Citizen] = ()) -> list[Citizen]:
        found = SOME.fullmatch(text)
        assert found is not None, text
        everybody = [c for c in self.citizens if c not in but]
        if found["all"]:
            return everybody
        if found["name"]:
            return [c for c in everybody if c.name == text]
        role = found["every"] or found["of"] or found["role"]
        group = [c for c in everybody if c.name.rpartition("-")[0] == role]
        if found["every"]:
            return group
        if found["share"]:
            count = max(1, round(len(group) * float(found["share"]) / 100))
        else:
            count = int(found["count"])
        return self.rng.sample(group, min(count, len(group)))

    def _subjects(self, some: Sequence[Some]) -> list[tuple[Subject, Citizen | None]]:
        subjects: list[tuple[Subject, Citizen | None]] = []
        for one in some:
            if one.text.startswith("agent-"):
                subjects.append((agent(one.text), None))
            else:
                subjects += [(node_of(c), c) for c in self._one(one.text)]
        return subjects
