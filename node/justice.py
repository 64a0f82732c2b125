"""Justice: performs what the court rules, and brings it what was seen here.

Links are closed and refused, changes are told to the log and the counters, and
what the gates of this node witnessed becomes an entry of its feed.
"""

from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

import attrs

from enforcement import effects as gate
from enforcement.decide import court as rulings
from enforcement.decide.case import Level
from enforcement.decide.court import ISOLATION_MS, Court, Ruling
from enforcement.decide.quarantine import Withheld
from enforcement.decide.story import clock as show_time
from enforcement.decide.story import grounds
from enforcement.reporting import proof_report, witness_report
from gossip.ledger.entries import (
    Entry,
    EntryKind,
    Place,
    Proof,
    Report,
    Subject,
    SubjectKind,
    Witness,
    read_report_untrusted,
)
from gossip.units import ID_BYTES, AgentId, NodeId
from node.clock import Clock
from node.driver import Alarm
from node.log import Log
from node.metrics import Metrics
from node.names import Names
from node.observe import Observations
from node.watch import Watchers


class Doors(Protocol):
    """What justice needs of the links."""

    def refuse(self, peer: NodeId, refused: bool) -> None:
        """Close the link to ``peer`` and let it make none, or let it again."""
        ...


@attrs.define(kw_only=True)
class Justice:
    """Runs one court.

    Args:
        publish: Puts a report into our own feed.
        retell: Says in our own feed what stands at a place behind a fork.
        on_change: Called whenever anybody's standing or denial changed.
        on_ruling: Called with each ruling once it was performed here.
    """

    court: Court
    names: Names
    doors: Doors
    clock: Clock
    log: Log
    metrics: Metrics
    publish: Callable[[Report], None]
    retell: Callable[[Place], None] = lambda _place: None
    observations: Observations = attrs.field(factory=Observations)
    observes_gate: bool = False
    on_change: Callable[[], None] = lambda: None
    on_ruling: Callable[[Ruling], None] = lambda _ruling: None
    watchers: Watchers = attrs.field(init=False)
    _alarm: Alarm = attrs.field(init=False)
    _restoring: bool = attrs.field(init=False, default=True)

    def __attrs_post_init__(self) -> None:
        self._alarm = Alarm(self.clock)
        # Only when somebody asks: it takes the longer the more cases there are.
        self.metrics.before_page = self._count_standings
        self.watchers = Watchers(self.court, self.names)

    def hear(self, entry: Entry) -> None:
        """An entry was admitted. What follows from it is in force on return: no call
        is judged in between, and nothing is waited for, no disk and no thread."""
        began, began_us = perf_counter(), self.watchers.now_us()
        ruled = self.court.hear(entry, self.clock.unix_ms())
        in_force_us = self.watchers.now_us()  # the gates know: all else comes after
        if any(isinstance(r, rulings.Deny) for r in ruled) and not self._restoring:
            self.metrics.denial_seconds.observe(perf_counter() - began)
        if entry.kind == EntryKind.REPORT:
            said = entry.said
            report = (
                said if isinstance(said, Report) else read_report_untrusted(entry.body)
            )
            kind = "proof" if isinstance(report.evidence, Proof) else "witness"
            self.metrics.reports.labels(kind).inc()
            if not any(isinstance(r, rulings.Disbelieved) for r in ruled):
                self.watchers.heard(entry, report, began_us)
        self._perform(ruled, in_force_us)

    def restored(self) -> None:
        """The feeds were read back: from now on changes are told."""
        self._restoring = False
        self._perform(self.court.tick(self.clock.unix_ms()))
        self._isolate_again()
        for subject in self.court.standings():
            if self.court.denial(subject) is not None:
                self.log.warn(f"{self.name(subject)} is still quarantined")

    def _isolate_again(self) -> None:
        """A restart is no way out of an isolation that own evidence began."""
        court, now = self.court, self.clock.unix_ms()
        for heard in court.recent():
            entry, report = heard.entry, heard.report
            is_own = entry.author == court.me and not _is_by_hand(report)
            stands = court.standing(report.subject, now).level is not Level.CLEAR
            if is_own and stands and now < entry.issued_at_ms + ISOLATION_MS:
                self._perform(court.saw(report, now, since=entry.issued_at_ms))

    def change(self, *, observe: bool, isolates: bool, observes_gate: bool) -> None:
        """Take over other modes: what they hold back is let go, what they do not
        hold back any more is enforced."""
        self.observes_gate = observes_gate
        begins = isolates and not self.court.isolates
        self.court.isolates = isolates
        self.court.observe = observe
        self._perform(self.court.tick(self.clock.unix_ms()))
        if begins:
            self._isolate_again()

    def witness(self, seen: gate.Witness) -> None:
        """A gate of this node saw somebody misbehave."""
        self._saw(witness_report(seen))

    def proof(self, seen: gate.Proof) -> None:
        """A gate of this node holds a signed request that convicts."""
        self.log.warn(
            f"{self.court.roster.name(seen.node)} signed a request that rule"
            f" {seen.rule} denies",
            agent=seen.agent,
        )
        self._saw(proof_report(seen))

    def spares(self, agent: AgentId, rule: str) -> bool:
        """Whether gates only observe; see `enforcement.post.Post.spares`."""
        if self.observes_gate:
            whom = self.name(Subject(SubjectKind.AGENT, agent))
            self.observe_one("gate", rule, whom)
        return self.observes_gate

    async def run(self) -> None:
        """Let the court look again when it asked to."""
        await self._alarm.run(
            lambda: self._perform(self.court.tick(self.clock.unix_ms()))
        )

    def _saw(self, report: Report) -> None:
        if report.subject.id == self.court.me:
            return  # Nobody testifies against himself.
        self._perform(self.court.saw(report, self.clock.unix_ms()))
        self.publish(report)

    def _perform(self, ruled: list[Ruling], in_force_us: int | None = None) -> None:
        changed, at_us = False, in_force_us or self.watchers.now_us()
        for ruling in ruled:
            self.watchers.ruled(ruling, at_us)
            changed |= self._perform_one(ruling)
            self.on_ruling(ruling)
        if changed and not self._restoring:
            self.on_change()

    def _perform_one(self, ruling: Ruling) -> bool:
        """Perform one ruling; whether a standing or denial changed."""
        match ruling:
            case rulings.StandingChanged(subject, before, after):
                self.metrics.verdicts.labels(after.level.name.lower()).inc()
                self._tell(
                    f"{self.name(subject)} is {after.level.name.lower()}, was"
                    f" {before.level.name.lower()}",
                    loud=Level.QUARANTINED in (before.level, after.level),
                )
                return True
            case rulings.Deny(subject, standing):
                until = show_time(standing.until_ms or 0)
                why = grounds(self.court, subject, standing)
                self._tell(
                    f"denying calls of {self.name(subject)} until {until}, {why}"
                )
                return True
            case rulings.Allow(subject):
                self._tell(f"no longer denying calls of {self.name(subject)}")
                return True
            case rulings.RefuseLink(node, why):
                self._tell(f"refusing links with {self.court.roster.name(node)}: {why}")
                self.doors.refuse(node, True)
            case rulings.AcceptLink(node):
                self._tell(f"accepting links with {self.court.roster.name(node)} again")
                self.doors.refuse(node, False)
            case rulings.HeldBack(subject, withheld):
                name = self.name(subject)
                self._tell(f"not enforced, by {withheld}: the quarantine of {name}")
                self.observe_one("quarantine", withheld, name)
                return True
            case rulings.Spared(node, category):
                name = self.court.roster.name(node)
                self._tell(
                    f"not enforced, by observe mode: isolating {name} ({category})"
                )
                self.observe_one("isolation", category, name)
            case rulings.Found(report):
                if not self._restoring:
                    self._saw(report)
            case rulings.Retell(place):
                author = self.court.roster.name(NodeId(place[0]))
                self._tell(f"telling again what {author} told behind a fork of its")
                self.retell(place)
            case rulings.Appealed(appeal):
                self._tell(
                    f"{self.court.roster.name(appeal.node)} appeals for"
                    f" {self.name(appeal.subject)}; see `picket appeal list`"
                )
            case rulings.Answered(appeal, by, answer):
                did = "upholds" if answer.upheld else "withdraws"
                self._tell(
                    f"{self.court.roster.name(by)} {did} what it said about"
                    f" {self.name(appeal.subject)}"
                )
            case rulings.Disbelieved(entry, why):
                author = self.court.roster.name(entry.author)
                self._tell(f"{author} said what does not hold: {why}")
            case rulings.LookAgain(at_ms):
                self._alarm.set(at_ms)
        return False

    def observe_one(self, what: str, rule: str, whom: str) -> None:
        """Count what observe mode let be."""
        if not self._restoring:
            self.metrics.observed.labels(what).inc()
            self.observations.note(what, rule, whom, self.clock.unix_ms())

    def _tell(self, sentence: str, *, loud: bool = True) -> None:
        if self._restoring:
            return
        if loud:
            self.log.warn(sentence)
        else:
            self.log.info(sentence)

    def _count_standings(self) -> None:
        counts = dict.fromkeys(Level, 0)
        for standing in self.court.standings().values():
            counts[standing.level] += 1
        for level in (Level.WATCH, Level.SUSPECT, Level.QUARANTINED):
            self.metrics.standing.labels(level.name.lower()).set(counts[level])
        held = Counter(map(self.court.held_back, self.court.standings()))
        for why in Withheld:
            self.metrics.held_back.labels(why.name.lower()).set(held[why])

    def name(self, subject: Subject) -> str:
        """What people call a subject."""
        return self.names.tell(self.court, subject)


def _is_by_hand(report: Report) -> bool:
    """Whether a person said it: what a gate saw has the digest of something."""
    evidence = report.evidence
    return isinstance(evidence, Witness) and evidence.digest == bytes(ID_BYTES)
