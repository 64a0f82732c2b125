"""The world: production cores as citizens, one agenda, one seed, one order of events.

What the daemon does with threads, sockets and a disk is done here by putting
things down on the agenda. No other clock and no other chance exist, so a seed
and a scenario are the whole run.
"""

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, assert_never

import attrs

from enforcement.decide import rulings
from enforcement.decide.court import Court
from enforcement.decide.rulings import Ruling
from gossip import effects, events
from gossip.engine import Engine
from gossip.ledger.batch import Batch, read_batch_untrusted
from gossip.ledger.entries import Entry, EntryKind, Place, Report, write_report
from gossip.membership.roster import Roster
from gossip.spread import frames
from gossip.units import Incarnation, NodeId, UnixMs
from scenarios.agenda import Agenda
from scenarios.cast import ROLES
from scenarios.citizen import Citizen, LocalClock
from scenarios.evidence import ProofReader, load_policy
from scenarios.network import Link, Network
from scenarios.onlooker import Onlooker
from scenarios.people import KeySuite, Person, found, person, sponsor
from scenarios.script import Scenario

BOOT_US: Final = 100_000


class Broken(Exception):
    """The core raised what it must never raise."""


class Links(Protocol):
    """Who is joined to whom; see `scenarios.linking`."""

    def close(self, citizen: Citizen, peer: int) -> None:
        """Close a link, as ``citizen`` wants it."""
        ...

    def seek(self, citizen: Citizen, peers: set[int]) -> None:
        """Keep links to exactly these."""
        ...

    def stopped(self, citizen: Citizen) -> None:
        """Let its peers notice in time."""
        ...


@attrs.define
class World:
    """Everybody, and what they do to each other."""

    scenario: Scenario
    seed: int
    suite: KeySuite
    onlookers: list[Onlooker] = attrs.field(factory=list)
    agenda: Agenda = attrs.field(init=False, factory=Agenda)
    network: Network = attrs.field(init=False)
    roster: Roster = attrs.field(init=False)
    judges: ProofReader = attrs.field(init=False, repr=False)
    citizens: list[Citizen] = attrs.field(init=False)
    index: dict[NodeId, int] = attrs.field(init=False)
    links: Links = attrs.field(init=False)
    _incarnations: int = attrs.field(init=False, default=0)
    _waiting: deque[tuple[Citizen, events.Event]] = attrs.field(
        init=False, factory=deque
    )
    _busy: bool = attrs.field(init=False, default=False)
    _free_us: list[int] = attrs.field(init=False)
    """When each of the processors is free that all nodes share."""

    def __attrs_post_init__(self) -> None:
        plan = self.scenario
        self._free_us = [0] * plan.costs.processors
        self.network = Network(plan.network, self.agenda, self.chance("network"))
        people = [person(self.suite, name) for name, _ in plan.names()]
        granted = frozenset(step.role for step in plan.story if step.role)
        brought = {role: n for n, role in enumerate(plan.cluster.sponsored)}
        groups: dict[str, list[Person]] = {}
        for one, (_, role) in zip(people, plan.names(), strict=True):
            groups.setdefault(role if role in brought else "", []).append(one)
        self.roster = found(self.suite, groups[""], plan.cluster.colluders, granted)
        for role, by in brought.items():
            sponsor(self.roster, groups.get(role, []), by, granted)
        policy = load_policy(plan.rules)
        self.judges = ProofReader(self.suite, self.roster, policy)
        self.citizens = [
            self._citizen(i, one, role)
            for i, (one, (_, role)) in enumerate(zip(people, plan.names(), strict=True))
        ]
        self.index = {c.node: c.index for c in self.citizens}

    def chance(self, purpose: str) -> random.Random:
        """A stream of chance for one purpose, so that none disturbs another."""
        return random.Random(f"{self.seed} {purpose}")  # noqa: S311 - replayable

    def _citizen(self, index: int, who: Person, role: str) -> Citizen:
        return Citizen(
            index=index,
            who=who,
            plays=role,
            role=ROLES[role](),
            opens=self.scenario.cluster.opens == "all",
            rng=self.chance(who.name),
            keys={who.chain.key: who.key},
            clock=LocalClock(),
        )

    # --- what the story does to nodes ------------------------------------------

    def start(self, citizen: Citizen) -> None:
        """Start a node, from what its disk holds."""
        assert not citizen.is_up
        roster = self.roster.twin()
        citizen.engine = Engine(citizen.node, roster, self.suite)
        citizen.court = Court(
            citizen.node,
            roster,
            self.suite,
            self.judges,
            observe=self.scenario.cluster.observe,
        )
        citizen.life += 1
        citizen.began_ms = citizen.clock.unix_ms(self.agenda.now_us)
        citizen.refused = set()
        citizen.restoring = True
        for encoded in citizen.disk.load():
            self.tell(citizen, events.Restored(encoded))
        citizen.restoring = False
        self._look_again(citizen, citizen.life)
        if citizen.opens:
            self._incarnations += 1
            fresh = Incarnation(self._incarnations.to_bytes(16, "big"))
            self.tell(citizen, events.Opened(fresh, citizen.who.chain))
        else:
            self.tell(citizen, events.Woken())  # makes it look for peers

    def stop(self, citizen: Citizen) -> None:
        """End a node at once; what was not on its disk is gone."""
        citizen.engine = citizen.court = None
        citizen.engine_alarm_us = citizen.court_alarm_us = None
        citizen.busy_us = 0
        self.links.stopped(citizen)

    def say(self, citizen: Citizen, kind: int, body: bytes) -> None:
        """Let a node write into its feed, if it is up."""
        if citizen.is_up:
            for onlooker in self.onlookers:
                onlooker.said(citizen, kind)
            self.tell(citizen, events.Say(kind, body))

    def saw(self, citizen: Citizen, report: Report) -> None:
        """A node saw something itself: it acts at once, and says so."""
        if citizen.court is None or report.subject.id == citizen.node:
            return
        self._consult(citizen, partial(citizen.court.saw, report), report)
        self.say(citizen, EntryKind.REPORT, write_report(report))

    # --- driving the cores -------------------------------------------------------

    def tell(self, citizen: Citizen, event: events.Event) -> None:
        """Give an engine one event and perform what follows.

        May be called from within itself, as in the daemon: events are handled in
        order of arrival.

        Raises:
            Broken: the core raised something.
        """
        self._waiting.append((citizen, event))
        if self._busy:
            return
        self._busy = True
        try:
            while self._waiting:
                self._handle(*self._waiting.popleft())
        finally:
            self._busy = False

    def _handle(self, citizen: Citizen, event: events.Event) -> None:
        engine = citizen.engine
        if engine is None:
            return
        for onlooker in self.onlookers:
            onlooker.handled(citizen, event)
        now_us = self.agenda.now_us
        done_us = now_us
        try:
            asked = engine.handle(event, citizen.clock.unix_ms(now_us))
        except Exception as wrong:
            raise self.broken(citizen, wrong, f"told {event}") from wrong
        if type(event) is events.Frame:
            costs = self.scenario.costs
            spent_us = costs.frame_us
            if costs.batch_us:
                spent_us += costs.batch_us * sum(
                    type(e) is effects.Store for e in asked
                )
            done_us = self.spend(citizen, spent_us)
        for effect in asked:
            self._perform(citizen, effect, done_us)

    def spend(self, citizen: Citizen, cost_us: int) -> int:
        """Keep its processor busy; returns when it is free again."""
        begin = max(self.agenda.now_us, citizen.busy_us)
        if not self._free_us:
            citizen.busy_us = begin + round(cost_us * citizen.factor)
            return citizen.busy_us
        first = min(range(len(self._free_us)), key=self._free_us.__getitem__)
        begin = max(begin, self._free_us[first])
        self._free_us[first] = begin + cost_us
        citizen.busy_us = begin + round(cost_us * citizen.factor)
        return citizen.busy_us

    def _perform(self, citizen: Citizen, effect: effects.Effect, at_us: int) -> None:
        match effect:
            case effects.Send():
                self.send(citizen, effect.peer, effect.frame, at_us)
            case effects.Note():
                for onlooker in self.onlookers:
                    onlooker.noted(citizen, effect)
            case effects.Store():
                self._store(citizen, effect)
            case effects.Admitted():
                self._admit(citizen, effect.entry)
            case effects.WakeAt():
                self._wake_at(citizen, effect.at_ms)
            case effects.Sign():
                self._sign(citizen, effect)
            case effects.SendStored():
                feed = (effect.author, effect.incarnation)
                for encoded in citizen.disk.read(feed, effect.first, effect.last):
                    self.send(citizen, effect.peer, frames.give(encoded), at_us)
            case effects.Verify():
                holds = tuple(self.suite.verify_many(effect.claims))
                self._later(citizen, at_us, events.Verified(effect.ticket, holds))
            case effects.Recall():
                number = effect.number
                (held,) = citizen.disk.read(effect.other.feed, number, number)
                self._later(citizen, at_us, events.Recalled(held, effect.other))
            case effects.Forget():
                citizen.disk.forget((effect.author, effect.incarnation), effect.before)
            case effects.Seek():
                self.links.seek(citizen, {self.index[peer] for peer in effect.peers})
            case effects.CloseLink():
                self.links.close(citizen, self.index[effect.peer])
            case _:
                assert_never(effect)

    def send(self, citizen: Citizen, peer: NodeId, frame: bytes, at_us: int) -> None:
        """Put a frame on a link, if there is one and the node's role lets it."""
        link = citizen.links.get(self.index[peer])
        if link is None:
            return
        really = citizen.role.sends(citizen.who, link.dst, frame, at_us)
        if really is None:
            return
        citizen.sent_bytes += len(really)
        for due_us in self.network.carry(link, really, at_us):
            self.agenda.at(due_us, partial(self._arrive, link, really))

    def _arrive(self, link: Link, frame: bytes) -> None:
        if link.is_up:
            source = self.citizens[link.src].node
            self.tell(self.citizens[link.dst], events.Frame(source, frame))

    def _sign(self, citizen: Citizen, effect: effects.Sign) -> None:
        signature = citizen.keys[effect.key].sign(effect.body, effect.context)
        done_us = self.spend(citizen, self.scenario.costs.sign_us)
        self._later(citizen, done_us, events.Signed(effect.body, signature))

    def _store(self, citizen: Citizen, effect: effects.Store) -> None:
        if not effect.own:
            citizen.disk.put(effect.batch)
            return
        delay_us = round(self.scenario.costs.disk_us * citizen.factor)
        self.agenda.after(
            delay_us, partial(self._stored, citizen, citizen.life, effect.batch)
        )

    def _stored(self, citizen: Citizen, life: int, batch: Batch) -> None:
        if citizen.is_up and citizen.life == life:
            citizen.disk.put(batch)
            self.tell(citizen, events.Stored(batch.id))

    def _admit(self, citizen: Citizen, entry: Entry) -> None:
        if not citizen.restoring:
            for onlooker in self.onlookers:
                onlooker.admitted(citizen, entry)
        if citizen.court is not None:
            self._consult(citizen, partial(citizen.court.hear, entry), entry)

    def _later(self, citizen: Citizen, at_us: int, event: events.Event) -> None:
        life = citizen.life

        def do() -> None:
            if citizen.life == life:
                self.tell(citizen, event)

        self.agenda.at(at_us, do)

    def _wake_at(self, citizen: Citizen, at_ms: int) -> None:
        at_us = citizen.clock.true_us(at_ms)
        if citizen.engine_alarm_us != at_us:
            citizen.engine_alarm_us = at_us
            self.agenda.at(at_us, partial(self._wake, citizen, at_us, citizen.life))

    def _wake(self, citizen: Citizen, at_us: int, life: int) -> None:
        if citizen.engine_alarm_us == at_us and citizen.life == life:
            citizen.engine_alarm_us = None
            self.tell(citizen, events.Woken())

    # --- performing rulings --------------------------------------------------------

    def broken(self, citizen: Citizen, wrong: Exception, told: str) -> Broken:
        """A core of this node raised something, when it was told this."""
        at_s = self.agenda.now_us / 1e6
        return Broken(f"{citizen.name} raised {wrong!r} at {at_s:.6f} s, {told}")

    def _consult(
        self,
        citizen: Citizen,
        court: Callable[[UnixMs], list[Ruling]],
        told: object,
    ) -> None:
        """Ask a court by its node's clock, and perform what it rules.

        Raises:
            Broken: the court raised something.
        """
        try:
            ruled = court(citizen.clock.unix_ms(self.agenda.now_us))
        except Exception as wrong:
            raise self.broken(citizen, wrong, f"told its court {told}") from wrong
        self._rule(citizen, ruled)

    def _rule(self, citizen: Citizen, ruled: list[Ruling]) -> None:
        for ruling in ruled:
            for onlooker in self.onlookers:
                onlooker.ruled(citizen, ruling)
            match ruling:
                case rulings.RefuseLink(node):
                    citizen.refused.add(self.index[node])
                    self.links.close(citizen, self.index[node])
                    self.tell(citizen, events.Barred(node, True))
                case rulings.AcceptLink(node):
                    citizen.refused.discard(self.index[node])
                    self.tell(citizen, events.Barred(node, False))
                case rulings.Found(report):
                    if not citizen.restoring:
                        self.saw(citizen, report)
                case rulings.Retell(place):
                    self._retell(citizen, place)
                case rulings.LookAgain(at_ms):
                    self._look_at(citizen, at_ms)
                case _:
                    pass

    def _retell(self, citizen: Citizen, place: Place) -> None:
        author, life, number, index = place
        feed = (NodeId(author), Incarnation(life))
        for encoded in citizen.disk.read(feed, number, number):
            entry = read_batch_untrusted(encoded).entries[index]
            self.say(citizen, entry.kind, entry.body)

    def _look_at(self, citizen: Citizen, at_ms: int) -> None:
        at_us = citizen.clock.true_us(at_ms)
        if citizen.court_alarm_us != at_us:
            citizen.court_alarm_us = at_us
            self.agenda.at(at_us, partial(self._look, citizen, at_us, citizen.life))

    def _look(self, citizen: Citizen, at_us: int, life: int) -> None:
        if citizen.court_alarm_us == at_us:
            citizen.court_alarm_us = None
            self._look_again(citizen, life)

    def _look_again(self, citizen: Citizen, life: int) -> None:
        if citizen.court is not None and citizen.life == life:
            self._consult(citizen, citizen.court.tick, "to look again")
