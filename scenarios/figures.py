"""What is measured of a run: how far and how soon things reached, who was cut.

Delays are microseconds of virtual time. Percentiles are over all pairs of a
thing said (or done) by somebody and an honest node that learnt of it: what else was
due, `delivered_percent` and `cut_percent` tell.
"""

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from enforcement.decide import rulings
from enforcement.decide.case import Level
from enforcement.decide.rulings import Ruling
from enforcement.principal import Principal
from gossip import effects, events
from gossip.ledger.batch import FeedId
from gossip.ledger.entries import Entry, EntryKind, Subject, SubjectKind
from gossip.units import EntryId, NodeId
from scenarios.agenda import Agenda
from scenarios.cast import carried
from scenarios.citizen import Citizen
from scenarios.script import Step

BARS: Final[Mapping[str, tuple[str, bool]]] = {
    "reach_p50_ms": ("from said to held by an honest node, median", False),
    "reach_p99_ms": ("the same, 99th percentile", False),
    "reach_max_ms": ("the same, the slowest", False),
    "delivered_percent": ("of what was said, held by honest nodes at the end", True),
    "cut_p50_ms": ("from a misdeed to an honest node refusing calls, median", False),
    "cut_p99_ms": ("the same, 99th percentile", False),
    "cut_percent": ("of misdoers, refused by living honest nodes at some time", True),
    "false_quarantines": ("innocent subjects that any honest node put away", False),
    "innocents_denied": ("most innocents that one honest node denied at once", False),
    "settled_s": ("from the end of the story to all of `eventually`", False),
    "catch_up_ratio": ("bytes sent until settled, for each byte missing", False),
    "bytes_per_node": ("sent by an honest node, mean", False),
    "duplicates_per_batch": ("batches received that were held already", False),
    "served_percent": ("of honest calls that no rule forbids, answered", True),
    "forbidden_served": ("calls that a rule forbids, and a server saw", False),
    "call_p50_ms": ("from an honest agent's call to its answer, median", False),
    "call_p99_ms": ("the same, 99th percentile", False),
    "rejected": ("batches that honest nodes refused", False),
}
"""Figure: (meaning, whether a bar is the least rather than the most)."""


def percentile(values: Sequence[int], share: float) -> int:
    """The value below which ``share`` of ``values`` lie; 0 if there are none."""
    if not values:
        return 0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@attrs.define
class Figures:
    """Counts while a run goes on. Implements `scenarios.onlooker.Onlooker`."""

    agenda: Agenda
    _said_us: dict[int, deque[int]] = attrs.field(init=False, factory=dict)
    _published_us: dict[EntryId, int] = attrs.field(init=False, factory=dict)
    published: dict[FeedId, int] = attrs.field(init=False, factory=dict)
    """Of every feed written by an honest node: how many batches are durable."""
    reach_us: "array[int]" = attrs.field(init=False, factory=lambda: array("q"))
    guilty_us: dict[Subject, int] = attrs.field(init=False, factory=dict)
    """Who did something, and when first."""
    cut_us: dict[tuple[Subject, int], int] = attrs.field(init=False, factory=dict)
    wronged: dict[Subject, None] = attrs.field(init=False, factory=dict)
    _denied: dict[int, set[Subject]] = attrs.field(init=False, factory=dict)
    """Innocents denied now, by which node."""
    _most_denied: int = attrs.field(init=False, default=0)
    _looked_us: int = attrs.field(init=False, default=0)
    accepted: int = attrs.field(init=False, default=0)
    known: int = attrs.field(init=False, default=0)
    rejected: int = attrs.field(init=False, default=0)
    handled_events: int = attrs.field(init=False, default=0)
    _missing_bytes: int = attrs.field(init=False, default=0)
    _sent_before: int = attrs.field(init=False, default=0)
    _stories: dict[tuple[FeedId, int], bytes] = attrs.field(init=False, factory=dict)
    """Of each batch that an equivocator told an honest node: which one."""
    equivocators: set[NodeId] = attrs.field(init=False, factory=set)
    _calls: int = attrs.field(init=False, default=0)
    _call_us: "array[int]" = attrs.field(init=False, factory=lambda: array("q"))
    _leaked: int = attrs.field(init=False, default=0)
    _suspects: set[Subject] = attrs.field(init=False, factory=set)
    """Agents that tried what is forbidden: a gate may say so, proven or not."""
    innocents: set[bytes] = attrs.field(init=False, factory=set)
    """Ids of honest nodes; agents are innocent unless they are guilty."""

    def misdeed(self, subject: Subject) -> None:
        """Somebody really did something."""
        self.guilty_us.setdefault(subject, self.agenda.now_us)

    def called(self, step: Step, by: Principal, honest: bool) -> None:
        """An agent calls a tool; ``honest`` if both nodes are."""
        if step.forbidden:
            self._suspects.add(Subject(SubjectKind.AGENT, by.agent))
        elif honest:
            self._calls += 1

    def reached_server(self, step: Step) -> None:
        """A call got past all gates."""
        self._leaked += step.forbidden

    def served(self, step: Step, honest: bool, since_us: int) -> None:
        """A call was answered, and not by a denial."""
        if honest and not step.forbidden:
            self._call_us.append(self.agenda.now_us - since_us)

    def handled(self, citizen: Citizen, event: events.Event) -> None:
        """Count; note when an honest node is told another story."""
        self.handled_events += 1
        if type(event) is events.Frame and event.peer in self.equivocators:
            batch = carried(event.data)
            if citizen.role.honest and batch is not None:
                place = (batch.feed, batch.number)
                if self._stories.setdefault(place, batch.id) != batch.id:
                    self.misdeed(Subject(SubjectKind.NODE, batch.author))

    def said(self, citizen: Citizen, kind: int) -> None:
        """Remember when, until it is known as which entry."""
        if kind == EntryKind.REPORT and citizen.role.honest:
            self._said_us.setdefault(citizen.index, deque()).append(self.agenda.now_us)

    def admitted(self, citizen: Citizen, entry: Entry) -> None:
        """Somebody holds an entry now."""
        if entry.author == citizen.node:
            if citizen.role.honest:
                feed = (entry.author, entry.incarnation)
                self.published[feed] = entry.number + 1
                waiting = self._said_us.get(citizen.index)
                if entry.kind == EntryKind.REPORT and waiting:
                    self._published_us[entry.id] = waiting.popleft()
            return
        since = self._published_us.get(entry.id)
        if since is not None and citizen.role.honest:
            self.reach_us.append(self.agenda.now_us - since)

    def noted(self, citizen: Citizen, note: effects.Note) -> None:
        """Count batches."""
        if not citizen.role.honest:
            return
        if note.fact is effects.Fact.BATCH_ACCEPTED:
            self.accepted += 1
        elif note.fact is effects.Fact.BATCH_KNOWN:
            self.known += 1
        elif note.fact is effects.Fact.BATCH_REJECTED:
            self.rejected += 1

    def ruled(self, citizen: Citizen, ruling: Ruling) -> None:
        """Note who is put away, and by whom."""
        if not citizen.role.honest:
            return
        self._count_denied()
        match ruling:
            case rulings.StandingChanged(subject, _, after):
                if after.level is Level.QUARANTINED and not self._deserves(subject):
                    self.wronged[subject] = None
            case rulings.Allow(subject):
                self._denied.get(citizen.index, set()).discard(subject)
            case rulings.Deny(subject):
                if not self._deserves(subject):
                    self._denied.setdefault(citizen.index, set()).add(subject)
                since = self.guilty_us.get(subject)
                if since is not None:
                    self.cut_us.setdefault(
                        (subject, citizen.index), self.agenda.now_us - since
                    )
            case _:
                pass

    def _count_denied(self) -> None:
        """Once a moment is over: in one ruling a court takes one and frees another."""
        if self.agenda.now_us > self._looked_us:
            self._looked_us = self.agenda.now_us
            most = max((len(denied) for denied in self._denied.values()), default=0)
            self._most_denied = max(self._most_denied, most)

    def happened(self, who: str, what: str) -> None:
        """Nothing to count."""

    def crashed(self, citizen: Citizen) -> None:
        """What was said and not yet durable is nobody's promise."""
        self._said_us.pop(citizen.index, None)

    def disk_lost(self, citizen: Citizen, citizens: Sequence[Citizen]) -> None:
        """What only a lost disk held cannot be held by anybody."""
        for feed in [feed for feed in self.published if feed[0] == citizen.node]:
            self.published[feed] = max(
                (_held(c, feed) for c in citizens if c.counts), default=0
            )

    def _deserves(self, subject: Subject) -> bool:
        return (
            subject in self.guilty_us
            or subject in self._suspects
            or (subject.kind is SubjectKind.NODE and subject.id not in self.innocents)
        )

    def story_over(self, citizens: Sequence[Citizen]) -> None:
        """Note how much each living honest node lacks of what the others hold."""
        living = [c for c in citizens if c.counts]
        held = {c.index: c.disk.sizes() for c in living}
        union = {p: size for sizes in held.values() for p, size in sizes.items()}
        self._missing_bytes = sum(
            sum(size for place, size in union.items() if place not in sizes)
            for sizes in held.values()
        )
        self._sent_before = sum(c.sent_bytes for c in citizens)

    def settled(self, citizens: Sequence[Citizen], took_us: int) -> dict[str, float]:
        """The figures of the time after the story."""
        found = {"settled_s": took_us / 1e6}
        if self._missing_bytes:
            sent = sum(c.sent_bytes for c in citizens) - self._sent_before
            found["catch_up_ratio"] = sent / self._missing_bytes
        return found

    def summary(self, citizens: Sequence[Citizen]) -> dict[str, float]:
        """Every figure but those of `settled`, by the names of `BARS`."""
        honest = [c for c in citizens if c.role.honest]
        living = [c for c in honest if c.is_up]
        self._count_denied()
        cut = list(self.cut_us.values())
        due = [(s, c.index) for s in self.guilty_us for c in living if s.id != c.node]
        found = {
            "false_quarantines": float(len(self.wronged)),
            "innocents_denied": float(self._most_denied),
            "bytes_per_node": sum(c.sent_bytes for c in honest) / max(1, len(honest)),
            "duplicates_per_batch": self.known / max(1, self.accepted),
            "rejected": float(self.rejected),
            "forbidden_served": float(self._leaked),
        }
        delivered = self._delivered(living)
        if delivered is not None:
            found["delivered_percent"] = 100 * delivered
        if self.reach_us:
            found["reach_p50_ms"] = percentile(self.reach_us, 0.5) / 1_000
            found["reach_p99_ms"] = percentile(self.reach_us, 0.99) / 1_000
            found["reach_max_ms"] = max(self.reach_us) / 1_000
        if self._calls:
            found["served_percent"] = 100 * len(self._call_us) / self._calls
            found["call_p50_ms"] = percentile(self._call_us, 0.5) / 1_000
            found["call_p99_ms"] = percentile(self._call_us, 0.99) / 1_000
        if due:
            found["cut_percent"] = (
                100 * sum(pair in self.cut_us for pair in due) / len(due)
            )
        if cut:
            found["cut_p50_ms"] = percentile(cut, 0.5) / 1_000
            found["cut_p99_ms"] = percentile(cut, 0.99) / 1_000
        return found

    def _delivered(self, living: Sequence[Citizen]) -> float | None:
        """The share of what honest nodes made durable that the living hold.

        None if nobody is left to hold it, or nothing was said.
        """
        due = held = 0
        for citizen in living:
            for feed, count in self.published.items():
                due += count
                held += min(count, _held(citizen, feed))
        return held / due if due else None


def _held(citizen: Citizen, feed: FeedId) -> int:
    """How many batches of a feed a node holds without a gap."""
    assert citizen.engine is not None
    state = citizen.engine.ledger.feed(feed)
    return state.next_number if state else 0
