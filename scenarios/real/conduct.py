"""Conducts a story with real nodes: each verb by signals, sockets, calls or packets.

Who takes part is chosen as in the simulator, by the same lot from the same seed.
"""

import json
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import attrs
import trio

from scenarios.cast import ROLES
from scenarios.casting import Cast
from scenarios.citizen import Citizen
from scenarios.demo.control import Json, NoAnswer
from scenarios.demo.processes import picket_or_fail
from scenarios.evidence import HOSTILE_TOOL
from scenarios.expect import agent
from scenarios.real.nodes import AGENT, OPERATOR, Node, wait_ready
from scenarios.real.seen import Seen
from scenarios.real.wires import Wire
from scenarios.script import Scenario, Step
from scenarios.verbs import AGENTS

if TYPE_CHECKING:
    from scenarios.demo.agents import Agents, Caller

_SLICE_S: Final = 0.05
"""A slowed node runs for one part of this, and is stopped for the rest."""
_RETRY_S: Final = 0.1


@attrs.define
class Conductor:
    """Performs steps at their times.

    Attributes:
        relay: The process that holds the packets; None on loopback.
        agents: Opens MCP sessions; None if nobody attacks.
        victim: Whom all who stalk besiege; None if nobody does.
    """

    scenario: Scenario
    nodes: Sequence[Node]
    seen: Seen
    nursery: trio.Nursery
    desk: Wire | None
    relay: "subprocess.Popen[bytes] | None"
    agents: "Agents | None"
    victim: Node | None
    _sessions: dict[tuple[str, str, str], "Caller"] = attrs.field(
        init=False, factory=dict
    )
    _count: int = attrs.field(init=False, default=0)
    _equivocates: dict[str, bool] = attrs.field(init=False, factory=dict)
    _slowed: dict[str, trio.CancelScope] = attrs.field(init=False, factory=dict)

    async def play(self, plan: Sequence[tuple[Step, Cast]]) -> None:
        """Perform every step of the story at its moment; return when all began."""
        began = trio.current_time()
        moments = sorted(
            (
                (at_s, number)
                for number, (step, _) in enumerate(plan)
                for at_s in step.moments_s(self.scenario.length_s)
            )
        )
        for at_s, number in moments:
            await trio.sleep_until(began + at_s)
            step, cast = plan[number]
            self.nursery.start_soon(self._perform, step, cast)
        await trio.sleep_until(began + self.scenario.length_s)

    async def _perform(self, step: Step, cast: Cast) -> None:
        with self._heeding(step):
            await DEEDS[step.does](self, step, cast)

    @contextmanager
    def _heeding(self, step: Step) -> Iterator[None]:
        """A node that is down or slowed may not answer: that is its part to play."""
        try:
            yield
        except NoAnswer as silent:
            self.seen.unanswered.append(f"{step.does}: {silent}")

    def end(self) -> None:
        """End all faults of the network, and of nodes that were slowed."""
        self._tell_relay(do="calm")
        for scope in self._slowed.values():
            scope.cancel()

    # --- verbs --------------------------------------------------------------------

    async def report(self, step: Step, cast: Cast) -> None:
        """Something harmless about an agent."""
        del step
        for node in self._of(cast.who):
            self._count += 1
            subject = str(agent(f"agent-{self._count % AGENTS}"))
            await self._say(node, subject, "rate-abuse", 1)

    async def accuse(self, step: Step, cast: Cast) -> None:
        """What nobody saw."""
        for node in self._of(cast.who):
            for subject, accused in cast.whom:
                target = self.nodes[accused.index].subject if accused else str(subject)
                if target != node.subject:
                    await self._say(node, target, step.category, step.severity)

    async def forge(self, step: Step, cast: Cast) -> None:
        """A proof that its subject never signed."""
        del step
        for node in self._of(cast.who):
            for _, accused in cast.whom:
                if accused is not None and accused.index != node.number:
                    target = self.nodes[accused.index]
                    await node.pull("forge", accused=target.id.hex())

    async def misbehave(self, step: Step, cast: Cast) -> None:
        """Each witness reports it, in its own time."""
        for offender in self._of(cast.who):
            self.seen.misdeed(offender)
            for witness in cast.seen_by:
                self.nursery.start_soon(
                    self._witness,
                    self.nodes[witness.index],
                    offender.subject,
                    step,
                    witness.role.detects_ms,
                )

    async def offend(self, step: Step, cast: Cast) -> None:
        """An MCP call that breaks a hostile rule, to each witness's server."""
        hostile = attrs.evolve(step, tool=HOSTILE_TOOL, forbidden=True)
        for offender in self._of(cast.who):
            for witness in self._of(cast.seen_by):
                if witness is not offender and offender.is_up and witness.is_up:
                    self.seen.misdeed(offender)
                    self.nursery.start_soon(self._call, offender, witness, hostile)

    async def call(self, step: Step, cast: Cast) -> None:
        """An MCP call from one node to another's server."""
        for caller in self._of(cast.who):
            for _, provider in cast.whom:
                if provider is not None and caller.is_up:
                    target = self.nodes[provider.index]
                    if target is not caller:
                        self.nursery.start_soon(self._call, caller, target, step)

    async def release(self, step: Step, cast: Cast) -> None:
        """An operator's act, through each of these nodes."""
        del step
        for node in self._of(cast.who):
            key = node.home.parent / "operators" / f"{OPERATOR}.key"
            for subject, accused in cast.whom:
                target = self.nodes[accused.index].subject if accused else str(subject)
                words = ["quarantine", "release", target, "--reason", "as told"]
                await picket_or_fail(
                    *words, "--operator-key", str(key), "--config", str(node.home)
                )

    async def rotate(self, step: Step, cast: Cast) -> None:
        """Fresh operational keys."""
        del step
        for node in self._of(cast.who):
            await node.pull("rotate")

    async def junk(self, step: Step, cast: Cast) -> None:
        """Garbage on every link."""
        for node in self._of(cast.who):
            await node.pull("junk", bytes=step.bytes)

    async def skew(self, step: Step, cast: Cast) -> None:
        """A wrong clock."""
        for node in self._of(cast.who):
            await node.pull("skew", offset_ms=step.offset_ms, drift_ppm=step.drift_ppm)

    async def turn(self, step: Step, cast: Cast) -> None:
        """Another role."""
        for node in self._of(cast.who):
            await self.become(node, step.into)

    async def partition(self, step: Step, cast: Cast) -> None:
        """The relay lets nothing pass between the sides."""
        sides: list[Json] = [[*sorted(side)] for side in cast.sides]
        await self._fault(step, do="part", sides=sides)

    async def deafen(self, step: Step, cast: Cast) -> None:
        """The relay lets nothing through to them."""
        await self._fault(step, do="deafen", who=[c.index for c in cast.who])

    async def lose(self, step: Step, cast: Cast) -> None:
        """The relay drops a share of all packets."""
        del cast
        await self._fault(step, do="lose", share=step.share)

    async def crash(self, step: Step, cast: Cast) -> None:
        """SIGKILL; and a fresh start after a while, maybe without a disk."""
        for node in self._of(cast.who):
            self.nursery.start_soon(self._end, node, step, node.kill)

    async def leave(self, step: Step, cast: Cast) -> None:
        """SIGTERM."""
        for node in self._of(cast.who):
            self.nursery.start_soon(self._end, node, step, node.stop)

    async def join(self, step: Step, cast: Cast) -> None:
        """The first start."""
        del step
        for node in self._of(cast.who):
            self.nursery.start_soon(self.start, node)

    async def slow(self, step: Step, cast: Cast) -> None:
        """SIGSTOP and SIGCONT in turn."""
        for node in self._of(cast.who):
            self.nursery.start_soon(self._slow, node, step.factor, step.for_s or 0.0)

    # --- parts of deeds -----------------------------------------------------------

    async def start(self, node: Node) -> None:
        """Start a daemon, watch it, and give it its role."""
        if node.is_up:
            return
        node.start(self.desk)
        await wait_ready(node)
        await self.attend(node)

    async def attend(self, node: Node) -> None:
        """Watch a daemon that has just started, and give it its role."""
        self.nursery.start_soon(self.seen.follow, node)
        if node.puppet:
            await self.become(node, node.role)

    async def become(self, node: Node, role: str) -> None:
        """Let a puppet play a role."""
        played = ROLES[role]()
        victim = self.victim.id.hex() if played.stalks and self.victim else ""
        await node.pull("become", role=role, besieges=victim)
        self._equivocates[node.name] = played.equivocates

    def _of(self, cast: Sequence[Citizen]) -> list[Node]:
        return [self.nodes[one.index] for one in cast]

    async def _say(
        self, node: Node, subject: str, category: str, severity: int
    ) -> None:
        if node.is_up:
            self.seen.said(node, subject)
            if self._equivocates.get(node.name):
                self.seen.misdeed(node)  # to tell anything is to tell two things
            await node.ask(
                "report", subject=subject, category=category, severity=severity
            )

    async def _witness(
        self, node: Node, subject: str, step: Step, detects_ms: int
    ) -> None:
        await trio.sleep(detects_ms / 1_000)
        with self._heeding(step):
            await self._say(node, subject, step.category, step.severity)

    async def _call(self, caller: Node, provider: Node, step: Step) -> None:
        """Call in a session that stays open until a call fails."""
        from scenarios.demo.agents import Unreachable

        assert self.agents is not None
        role = step.role or AGENT
        honest = {caller.name, provider.name} <= self.seen.honest
        told = self.seen.called(step, role, caller, honest=honest)
        place = (caller.name, role, provider.server)
        try:
            session = self._sessions.pop(place, None) or await self.agents.open(
                f"{role} {caller.name}", provider.server
            )
        except Unreachable as refused:
            told(0.0, f"no session: {refused}")
            return
        answer = await session.call(step.tool, **dict(step.params))
        why_not = (
            f"{answer.reason or 'refused'} after {answer.ms:.0f} ms: {answer.text}"
        )
        told(answer.ms, "" if answer.passed else why_not)
        if answer.passed and place not in self._sessions:
            self._sessions[place] = session
        else:
            session.close()

    async def _end(
        self, node: Node, step: Step, end: Callable[[], Awaitable[None]]
    ) -> None:
        if not node.is_up:
            return
        if node.name in self._slowed:
            self._slowed.pop(node.name).cancel()
        await end()
        if not step.keep_disk:
            node.lose_disk()
        if step.for_s is not None:
            await trio.sleep(step.for_s)
            await self.start(node)

    async def _slow(self, node: Node, factor: float, for_s: float) -> None:
        with trio.move_on_after(for_s) as scope:
            self._slowed[node.name] = scope
            try:
                while node.is_up:
                    _signal(node, signal.SIGCONT)
                    await trio.sleep(_SLICE_S / factor)
                    _signal(node, signal.SIGSTOP)
                    await trio.sleep(_SLICE_S * (1 - 1 / factor))
            finally:
                _signal(node, signal.SIGCONT)
        self._slowed.pop(node.name, None)

    async def _fault(self, step: Step, **told: Json) -> None:
        """A fault of the network: it ends after ``for_s``, and no other with it."""
        self._count += 1
        fault = self._count
        self._tell_relay(fault=fault, **told)
        await trio.sleep(step.for_s or 0.0)
        self._tell_relay(do="heal", fault=fault)

    def _tell_relay(self, **told: Json) -> None:
        if self.relay is not None and self.relay.stdin is not None:
            self.relay.stdin.write(json.dumps(told).encode() + b"\n")
            self.relay.stdin.flush()


def _signal(node: Node, number: int) -> None:
    if node.is_up and node.process is not None:
        node.process.send_signal(number)


DEEDS: Final[dict[str, Callable[[Conductor, Step, Cast], Awaitable[None]]]] = {
    "report": Conductor.report,
    "accuse": Conductor.accuse,
    "forge": Conductor.forge,
    "misbehave": Conductor.misbehave,
    "offend": Conductor.offend,
    "call": Conductor.call,
    "release": Conductor.release,
    "rotate": Conductor.rotate,
    "junk": Conductor.junk,
    "skew": Conductor.skew,
    "turn": Conductor.turn,
    "partition": Conductor.partition,
    "deafen": Conductor.deafen,
    "lose": Conductor.lose,
    "crash": Conductor.crash,
    "leave": Conductor.leave,
    "join": Conductor.join,
    "slow": Conductor.slow,
}
STRINGS: Final = frozenset({"forge", "junk", "rotate", "skew", "turn"})
"""Verbs that no daemon obeys: whoever takes part hangs on strings."""
