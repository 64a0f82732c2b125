"""The response: brings the actuators of this node to what the court ruled.

Calls and links are refused where they pass (`node.guard`, the links). This does
the rest: sessions are ended, addresses blocked, hooks and people told. Whatever
the court says twice is done once; what it takes back is undone; after a restart
the machine is brought to the same state again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

import attrs
import trio

from enforcement.decide import court as rulings
from enforcement.decide.case import Level, Standing
from enforcement.decide.court import Ruling
from enforcement.decide.remarks import Release
from enforcement.decide.story import tell
from enforcement.respond.addresses import choose_blocked
from enforcement.respond.pager import Page, Pager
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import AgentId, NodeId, UnixMs
from node.actuators.hooks import Hook
from node.actuators.nft import Nftables
from node.actuators.sessions import SessionEnder
from node.config import HookConfig, ResponseConfig
from node.driver import Alarm
from node.jsonlines import Json
from node.justice import Justice
from node.proxy.session import Session

REASONS_MAX = 20


@attrs.define(kw_only=True)
class Response:
    """Everything a standing does to this machine but calls and links.

    Args:
        sessions: The MCP sessions that are open now.
        observes_tools: Sessions that would be ended are only counted.
        restore_trust: Called for an agent that operators released.
        on_tools: Called with whoever's tools are withdrawn, or come back.
    """

    justice: Justice
    config: ResponseConfig
    sessions: Callable[[], Iterable[Session]]
    observes_tools: bool = False
    restore_trust: Callable[[AgentId, UnixMs], None] = lambda _agent, _now: None
    on_tools: Callable[[Subject], None] = lambda _subject: None
    nft: Nftables = attrs.field(init=False)
    _hooks: dict[str, Hook] = attrs.field(init=False, factory=dict)
    _ender: SessionEnder = attrs.field(init=False)
    _pager: Pager = attrs.field(init=False, factory=Pager)
    _alarm: Alarm = attrs.field(init=False)
    _restoring: bool = attrs.field(init=False, default=True)
    _cut_off: set[Subject] = attrs.field(init=False, factory=set)
    """Who was dealt with, so that it happens once."""
    _beside: trio.Nursery | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        justice = self.justice
        self._alarm = Alarm(justice.clock)
        self._ender = SessionEnder(
            sessions=self.sessions,
            log=justice.log,
        )
        self.nft = Nftables(clock=justice.clock, log=justice.log)
        self._make_hooks({})
        justice.on_ruling = self.ruled

    async def run(self) -> None:
        """Run the actuators until cancelled."""
        async with trio.open_nursery() as nursery:
            self._beside = nursery
            nursery.start_soon(self._ender.run)
            nursery.start_soon(self._alarm.run, self._page_gathered)
            nursery.start_soon(self.nft.run)
            for hook in self._hooks.values():
                nursery.start_soon(hook.run)

    def change(self, config: ResponseConfig, *, observes_tools: bool) -> None:
        """Take over another configuration, and bring the machine to where it would
        be had it been so all the time. Hooks that go hear what they were told."""
        before, self.config = self.config.hooks, config
        enforces = self.observes_tools and not observes_tools
        self.observes_tools = observes_tools
        new = self._make_hooks(before)
        self._block()
        for subject in sorted(self._cut_off):
            if enforces:
                self._ender.end(subject)
            self._tell_hooks("restored", subject, self._standing(subject), new)

    def _make_hooks(self, before: Mapping[str, HookConfig]) -> list[Hook]:
        """Keep the hooks that are as before, retire the rest; those that are new."""
        kept = {
            n: h
            for n, h in self._hooks.items()
            if self.config.hooks.get(n) == before[n]
        }
        for name, hook in self._hooks.items():
            if name not in kept:
                hook.retire()
        new = {
            name: Hook(
                name=name,
                command=hook.command,
                events=frozenset(hook.events),
                deadline_s=hook.deadline_s,
                log=self.justice.log,
            )
            for name, hook in self.config.hooks.items()
            if name not in kept
        }
        self._hooks = kept | new
        if self._beside is not None:
            for hook in new.values():
                self._beside.start_soon(hook.run)
        return [*new.values()]

    def restored(self) -> None:
        """The feeds were read back: bring the machine to where it was."""
        self._restoring = False
        self._block()
        for subject, standing in sorted(self.justice.court.standings().items()):
            if standing.level is Level.QUARANTINED:
                self._pager.known(subject, standing.since_ms)
            if self.justice.court.denial(subject) is not None:
                self._cut_off.add(subject)
                self._tell_hooks("restored", subject, self._standing(subject))

    def ruled(self, ruling: Ruling) -> None:
        """The court ruled; do what follows. Never blocks."""
        if self._restoring:
            return
        match ruling:
            case rulings.Deny(subject, _) if subject in self._cut_off:
                self._block_if(subject)
            case rulings.Deny(subject, standing):
                self._cut_off.add(subject)
                if self.observes_tools:
                    name = self.justice.name(subject)
                    self.justice.observe_one("tools", "quarantined", name)
                else:
                    self._ender.end(subject)
                self._block_if(subject)
                self.on_tools(subject)
                self._tell_hooks("quarantined", subject, standing)
                self._page(subject, standing, held_back=False)
            case rulings.Allow(subject) if subject in self._cut_off:
                self._cut_off.discard(subject)
                self._block_if(subject)
                self.on_tools(subject)
                self._tell_hooks("released", subject, self._standing(subject))
                self._pager.ended(subject)
                self._vouch(subject)
            case rulings.HeldBack(subject):
                standing = self._standing(subject)
                self._tell_hooks("held-back", subject, standing)
                self._page(subject, standing, held_back=True)
            case rulings.LookAgain():
                self._block()  # a quarantine may last longer than it said

    def _vouch(self, subject: Subject) -> None:
        """Operators who release an agent vouch for it: trust begins anew. One whose
        term only ran out has to earn it."""
        case = self.justice.court.case(subject)
        if subject.kind is not SubjectKind.AGENT or case is None:
            return
        *_, last = case.remarks()
        if isinstance(last, Release):
            self.restore_trust(AgentId(subject.id), self.justice.clock.unix_ms())

    def _standing(self, subject: Subject) -> Standing:
        justice = self.justice
        return justice.court.standing(subject, justice.clock.unix_ms())

    def _block_if(self, subject: Subject) -> None:
        if subject.kind is SubjectKind.NODE:  # only those have addresses
            self._block()

    def _block(self) -> None:
        if not self.config.nftables:
            self.nft.block(None)
            return
        until = {
            NodeId(subject.id): standing.until_ms
            for subject, standing in self.justice.court.denied_nodes().items()
            if standing.until_ms is not None
        }
        court, never = self.justice.court, self.config.never_block
        roster = court.roster
        blocked = choose_blocked(
            roster.members(), until, never, court.me, roster.is_confirmed
        )
        self.nft.block(blocked)

    def _tell_hooks(
        self,
        event: str,
        subject: Subject,
        standing: Standing,
        hooks: Collection[Hook] | None = None,
    ) -> None:
        hooks = self._hooks.values() if hooks is None else hooks
        if not hooks:
            return
        now, name = self.justice.clock.unix_ms(), self.justice.name(subject)
        story = tell(self.justice.court, subject, name, now)
        reasons: list[Json] = [*story.sentences[:REASONS_MAX]]
        facts: dict[str, Json] = {
            "at_ms": now,
            "subject": str(subject),
            "name": name,
            "standing": standing.level.name.lower(),
            "basis": standing.basis.value if standing.basis else None,
            "until_ms": standing.until_ms,
            "why": reasons,
        }
        for hook in hooks:
            hook.tell(event, facts)

    def _page(self, subject: Subject, standing: Standing, *, held_back: bool) -> None:
        now = self.justice.clock.unix_ms()
        since = standing.since_ms
        self._send(self._pager.quarantined(subject, since, now, held_back=held_back))

    def _page_gathered(self) -> None:
        self._send(self._pager.tick(self.justice.clock.unix_ms()))

    def _send(self, page: Page | None) -> None:
        if self._pager.due_ms is not None:
            self._alarm.set(self._pager.due_ms)
        if page is None:
            return
        self.justice.metrics.pages.inc()
        names = ", ".join(map(self.justice.name, page.subjects))
        held = f", {page.held_back} not enforced" if page.held_back else ""
        self.justice.log.error(f"PAGE: {page.cases} quarantined{held}: {names}")
        subjects: list[Json] = [str(subject) for subject in page.subjects]
        facts: dict[str, Json] = {
            "at_ms": page.at_ms,
            "cases": page.cases,
            "held_back": page.held_back,
            "subjects": subjects,
            "names": names,
        }
        for hook in self._hooks.values():
            hook.tell("page", facts)
