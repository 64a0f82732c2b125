"""Performs a story: chooses who, and lets them do what each step's verb means."""

from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import Final

import attrs

from enforcement.decide.acts import PARDONS_MAX
from enforcement.decide.court import write_release
from gossip import events
from gossip.ledger.entries import (
    EntryKind,
    Proof,
    Report,
    Subject,
    Witness,
    write_report,
)
from gossip.units import UnixMs
from scenarios.agenda import SECOND_US
from scenarios.calling import Calling
from scenarios.cast import ROLES
from scenarios.casting import Cast, Casting, node_of
from scenarios.citizen import Citizen, Disk
from scenarios.evidence import forge
from scenarios.expect import agent
from scenarios.figures import Figures
from scenarios.linking import SILENCE_US, Linking
from scenarios.people import act, person
from scenarios.script import Some, Step
from scenarios.verbs import AGENTS
from scenarios.world import BOOT_US, World

JUNK_EVERY_US: Final = 100_000


@attrs.define
class Story:
    """Puts a scenario's steps on the agenda of its world."""

    world: World
    linking: Linking
    figures: Figures
    calling: Calling = attrs.field(init=False)
    _count: int = attrs.field(init=False, default=0)
    _ends_us: int = attrs.field(init=False)
    _down_until_us: dict[int, float] = attrs.field(init=False, factory=dict)
    """Who crashed, and when the last of these crashes is over; inf if never."""
    _slowed: dict[int, list[float]] = attrs.field(init=False, factory=dict)
    """By how much each slow node is slowed, once for each cause."""

    def __attrs_post_init__(self) -> None:
        self.calling = Calling(self.world, self.figures)
        self._ends_us = round(self.world.scenario.length_s * SECOND_US)

    def begin(self) -> None:
        """Start everybody who is there from the beginning; plan all steps."""
        plan = self.world.scenario
        casting = Casting(self.world.citizens, self.world.chance("story"))
        told = [*plan.story, *habits(plan.nodes)]
        steps = [(step, casting.cast(step)) for step in told]
        self.linking.choose_victim(self.world.chance("victim"))
        late = {
            c.index for step, cast in steps if step.does == "join" for c in cast.who
        }
        for citizen in self.world.citizens:
            if citizen.index not in late:
                self.world.agenda.at(0, partial(self.world.start, citizen))
            self.world.agenda.at(BOOT_US, partial(self._begin_role, citizen))
        for step, cast in steps:
            for at_s in step.moments_s(self.world.scenario.length_s):
                at_us = round(at_s * SECOND_US)
                self.world.agenda.at(at_us, partial(self._perform, step, cast))

    def end(self) -> None:
        """End all faults of the network."""
        self.world.network.calm()
        self.linking.resume()

    # --- what -----------------------------------------------------------------------

    def _perform(self, step: Step, cast: Cast) -> None:
        names = ", ".join(c.name for c in cast.who[:5])
        more = f" and {len(cast.who) - 5} more" if len(cast.who) > 5 else ""
        for onlooker in self.world.onlookers:
            onlooker.happened(names + more or "network", step.does)
        self._count += 1
        _DEEDS[step.does](self, step, cast)

    def report(self, step: Step, cast: Cast) -> None:
        for citizen in cast.who:
            self._count += 1
            subject = agent(f"agent-{self._count % AGENTS}")
            self._tell(citizen, subject, attrs.evolve(step, severity=1))

    def accuse(self, step: Step, cast: Cast) -> None:
        for citizen in cast.who:
            for subject, _ in cast.whom:
                if subject.id != citizen.node:
                    self._tell(citizen, subject, step)

    def forge(self, step: Step, cast: Cast) -> None:
        del step
        for citizen in cast.who:
            for subject, accused in cast.whom:
                if accused is not None and accused is not citizen:
                    self._publish_forged(citizen, subject, accused)

    def misbehave(self, step: Step, cast: Cast) -> None:
        for citizen in cast.who:
            subject = node_of(citizen)
            self.figures.misdeed(subject)
            for witness in cast.seen_by:
                self._in_time(witness, partial(self._see, witness, subject, step))

    def offend(self, step: Step, cast: Cast) -> None:
        del step
        for citizen in cast.who:
            for witness in cast.seen_by:
                if witness is not citizen:
                    self.calling.offend(citizen, witness)

    def call(self, step: Step, cast: Cast) -> None:
        for citizen in cast.who:
            for _, provider in cast.whom:
                if provider is not None and provider is not citizen:
                    self.calling.call(citizen, provider, step)

    def release(self, step: Step, cast: Cast) -> None:
        del step
        world = self.world
        for citizen in cast.who:
            for subject, _ in cast.whom:
                now = citizen.clock.unix_ms(world.agenda.now_us)
                case = citizen.court.case(subject) if citizen.court else None
                pardons = case.stories()[:PARDONS_MAX] if case else ()
                payload = write_release(subject, "as the story wants it", pardons)
                body = act(world.suite, world.roster, now, payload)
                world.say(citizen, EntryKind.ACT, body)

    def rotate(self, step: Step, cast: Cast) -> None:
        del step
        for citizen in cast.who:
            if citizen.is_up:
                citizen.turn += 1
                fresh = person(self.world.suite, citizen.name, citizen.turn)
                citizen.who = fresh
                citizen.keys[fresh.chain.key] = fresh.key
                self.world.tell(citizen, events.Rotated(fresh.chain))

    def junk(self, step: Step, cast: Cast) -> None:
        for citizen in cast.who:
            self._junk(citizen, step.bytes)

    def partition(self, step: Step, cast: Cast) -> None:
        fault = self._fault(step)
        self.world.network.part(fault, cast.sides)
        self.world.agenda.after(SILENCE_US, self.linking.check_silence)

    def deafen(self, step: Step, cast: Cast) -> None:
        fault = self._fault(step)
        self.world.network.deafen(fault, {c.index for c in cast.who})
        self.world.agenda.after(SILENCE_US, self.linking.check_silence)

    def crash(self, step: Step, cast: Cast) -> None:
        """Of several, the one that ends last counts."""
        for citizen in cast.who:
            if citizen.is_up:
                self.figures.crashed(citizen)
                self.world.stop(citizen)
            elif citizen.index not in self._down_until_us:
                continue  # it has not joined yet
            if not step.keep_disk:
                citizen.disk = Disk()
                self.figures.disk_lost(citizen, self.world.citizens)
            until_us = inf
            if step.for_s is not None:
                until_us = self.world.agenda.now_us + round(step.for_s * SECOND_US)
                self._after(step.for_s, partial(self._return, citizen))
            before_us = self._down_until_us.get(citizen.index, until_us)
            self._down_until_us[citizen.index] = max(before_us, until_us)

    def join(self, step: Step, cast: Cast) -> None:
        del step
        for citizen in cast.who:
            self._start(citizen)

    def slow(self, step: Step, cast: Cast) -> None:
        """Of several, the slowest counts."""
        for citizen in cast.who:
            self._slowed.setdefault(citizen.index, []).append(step.factor)
            citizen.factor = max(self._slowed[citizen.index])
            ended = partial(self._quicken, citizen, step.factor)
            self._after(step.for_s or 0.0, ended)

    def skew(self, step: Step, cast: Cast) -> None:
        for citizen in cast.who:
            citizen.clock.offset_ms += step.offset_ms
            citizen.clock.drift_ppm += step.drift_ppm

    def turn(self, step: Step, cast: Cast) -> None:
        for citizen in cast.who:
            citizen.plays, citizen.role = step.into, ROLES[step.into]()
            if citizen.role.equivocates:
                self.figures.equivocators.add(citizen.node)
            self._begin_role(citizen)

    def lose(self, step: Step, cast: Cast) -> None:
        del cast
        self.world.network.lose(self._fault(step), step.share)

    # --- parts of deeds -------------------------------------------------------------

    def _start(self, citizen: Citizen) -> None:
        self._down_until_us.pop(citizen.index, None)
        if not citizen.is_up:
            self.world.start(citizen)

    def _return(self, citizen: Citizen) -> None:
        if self._down_until_us.get(citizen.index, inf) <= self.world.agenda.now_us:
            self._start(citizen)

    def _quicken(self, citizen: Citizen, factor: float) -> None:
        self._slowed[citizen.index].remove(factor)
        citizen.factor = max(self._slowed[citizen.index], default=1.0)

    def _after(self, delay_s: float, do: Callable[[], None]) -> None:
        self.world.agenda.after(round(delay_s * SECOND_US), do)

    def _fault(self, step: Step) -> int:
        """The number of a new fault of the network, which ends after ``for_s``."""
        self._count += 1
        self._after(step.for_s or 0.0, partial(self._heal, self._count))
        return self._count

    def _heal(self, fault: int) -> None:
        self.world.network.heal(fault)
        self.linking.resume()

    def _in_time(self, witness: Citizen, do: Callable[[], None]) -> None:
        self.world.agenda.after(witness.role.detects_ms * 1_000, do)

    def _witness(self, at_ms: int) -> Witness:
        self._count += 1
        return Witness(
            digest=self._count.to_bytes(32, "big"),
            count=1,
            first_ms=UnixMs(at_ms),
            last_ms=UnixMs(at_ms),
        )

    def _accusation(self, citizen: Citizen, subject: Subject, step: Step) -> Report:
        now = citizen.clock.unix_ms(self.world.agenda.now_us)
        return Report(
            subject=subject,
            category=step.category,
            severity=step.severity,
            evidence=self._witness(now),
        )

    def _tell(self, citizen: Citizen, subject: Subject, step: Step) -> None:
        """Publish without having seen anything."""
        body = write_report(self._accusation(citizen, subject, step))
        self.world.say(citizen, EntryKind.REPORT, body)

    def _see(self, citizen: Citizen, subject: Subject, step: Step) -> None:
        self.world.saw(citizen, self._accusation(citizen, subject, step))

    def _publish_forged(
        self, citizen: Citizen, subject: Subject, accused: Citizen
    ) -> None:
        world = self.world
        proof = forge(
            world.suite,
            world.roster,
            world.judges.policy,
            accused.who,
            citizen.who,
            citizen.clock.unix_ms(world.agenda.now_us),
        )
        report = Report(
            subject=subject,
            category="hostile-request",
            severity=9,
            evidence=Proof(data=proof),
        )
        world.say(citizen, EntryKind.REPORT, write_report(report))

    def _begin_role(self, citizen: Citizen) -> None:
        if citizen.role.junk_per_s:
            self._keep_junking(citizen)

    def _keep_junking(self, citizen: Citizen) -> None:
        if citizen.role.junk_per_s and self.world.agenda.now_us < self._ends_us:
            count = citizen.role.junk_per_s * JUNK_EVERY_US // SECOND_US
            for _ in range(max(1, count)):
                self._junk(citizen, 200)
            self.world.agenda.after(JUNK_EVERY_US, partial(self._keep_junking, citizen))

    def _junk(self, citizen: Citizen, size: int) -> None:
        for peer in list(citizen.links):
            if peer in citizen.links:  # else it has had enough meanwhile
                self.world.send(
                    citizen,
                    self.world.citizens[peer].node,
                    citizen.rng.randbytes(size),
                    self.world.agenda.now_us,
                )


_DEEDS: Final[dict[str, Callable[[Story, Step, Cast], None]]] = {
    "report": Story.report,
    "accuse": Story.accuse,
    "forge": Story.forge,
    "misbehave": Story.misbehave,
    "offend": Story.offend,
    "call": Story.call,
    "release": Story.release,
    "rotate": Story.rotate,
    "junk": Story.junk,
    "partition": Story.partition,
    "deafen": Story.deafen,
    "crash": Story.crash,
    "leave": Story.crash,
    "join": Story.join,
    "slow": Story.slow,
    "skew": Story.skew,
    "turn": Story.turn,
    "lose": Story.lose,
}


def habits(nodes: tuple[tuple[str, int], ...]) -> Iterator[Step]:
    """What the roles of a scenario do by themselves, as steps of its story."""
    for role, _ in nodes:
        for habit in ROLES[role]().habits:
            yield attrs.evolve(habit, who=(Some(f"every {role}"),))
