"""One real run: a scenario and a seed in; a verdict and figures out; nothing left."""

import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import trio

from gossip.errors import UserError
from scenarios.cast import ROLES
from scenarios.casting import Cast, Casting, besieged
from scenarios.demo.control import NoAnswer
from scenarios.demo.processes import (
    Failed,
    adopt_orphans,
    end_leftovers,
    first_sentence,
)
from scenarios.evidence import HOSTILE_TOOL
from scenarios.real.conduct import STRINGS, Conductor
from scenarios.real.ending import ending_in_order, passing_folder, run_until_sigterm
from scenarios.real.fit import check_fit
from scenarios.real.hopes import forbidden, unmet
from scenarios.real.nodes import AGENT, HTTP_PORT, Node, bear, start_all
from scenarios.real.seen import Seen
from scenarios.real.wires import (
    Wire,
    Wires,
    can_make_namespaces,
    in_namespaces,
    on_loopback,
)
from scenarios.run import missed
from scenarios.script import Scenario, Step
from scenarios.story import habits
from scenarios.toy import ToySuite
from scenarios.world import World
from scenarios.writing import write_scenario

if TYPE_CHECKING:
    from scenarios.demo.agents import Agents

LOOK_EVERY_S: Final = 0.25
CALLS_S: Final = 10.0
"""What calls that are under way when the story ends have for their answers."""
_PIECES: Final = 100


@attrs.frozen(kw_only=True)
class RealVerdict:
    """How a real run ended.

    Attributes:
        failures: Sentences; none if everything held.
        figures: By the names of `scenarios.figures.BARS`.
        network: ``namespaces``, or ``loopback`` where no packet is delayed or lost.
        lines: How many lines the nodes' watchers told.
        unanswered: What the story asked of nodes in vain, such as of one that is down.
        unserved: Honest calls that no rule forbids and that were not answered, and why.
        disbelieved: How often an honest node found a proof to prove nothing.
    """

    scenario: str
    seed: int
    nodes: int
    network: str
    failures: tuple[str, ...]
    figures: dict[str, float]
    lines: int
    unanswered: tuple[str, ...]
    unserved: tuple[str, ...]
    disbelieved: int
    length_s: float

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not self.failures


def run_real(
    name: str,
    scenario: Scenario,
    seed: int,
    *,
    progress: AbstractContextManager[Callable[[float], None]] | None = None,
) -> RealVerdict:
    """Run a scenario against real daemons, in real time.

    Leaves the machine's network for good where it may make namespaces: call it in
    a process that has nothing else to do.

    Args:
        name: The file, or the name in the library, for messages.
        progress: Told the share of the story that is over, 0 to 1. Entered once
            namespaces are made, since it may start a thread.

    Raises:
        UserError: the scenario cannot be run here, or a daemon does not start.
    """
    check_fit(name, scenario, namespaces=True)
    adopt_orphans()
    world = World(scenario, seed, ToySuite(seed))
    plan = _cast(world)
    with ExitStack() as held:
        held.enter_context(ending_in_order())
        held.callback(end_leftovers)
        folder = held.enter_context(passing_folder("picket-real-"))
        wires = _wires(scenario.size, held)
        check_fit(name, scenario, namespaces=wires.desk is not None)
        nodes = _nodes(world, plan, folder, wires)
        relay = _relay(scenario, seed, folder, wires, held)
        told = held.enter_context(progress or nullcontext(lambda _: None))
        victim = besieged(world.citizens, world.chance("victim"))
        run = _Run(
            scenario=scenario,
            seed=seed,
            plan=plan,
            nodes=nodes,
            victim=nodes[victim.index] if victim else None,
            desk=wires.desk,
            relay=relay,
        )
        return _conducted(name, partial(run.play, folder, told))


def _conducted(name: str, play: Callable[[], Awaitable[RealVerdict]]) -> RealVerdict:
    """Run to the end; what went wrong between processes is a user's sentence."""
    ended: BaseException
    try:
        return run_until_sigterm(play)
    except* (Failed, NoAnswer) as failed:
        ended = UserError(f"{name}: {first_sentence(failed)}")
    except* KeyboardInterrupt:
        ended = KeyboardInterrupt()
    raise ended from None


def _cast(world: World) -> list[tuple[Step, Cast]]:
    casting = Casting(world.citizens, world.chance("story"))
    steps = [*world.scenario.story, *habits(world.scenario.nodes)]
    return [(step, casting.cast(step)) for step in steps]


def _wires(count: int, held: ExitStack) -> Wires:
    if not can_make_namespaces():
        return on_loopback(count)
    return held.enter_context(in_namespaces(count))


def _nodes(
    world: World, plan: Sequence[tuple[Step, Cast]], folder: Path, wires: Wires
) -> list[Node]:
    """The nodes that the story asks for, with what each needs for its part."""
    nodes = [
        Node(
            number=c.index,
            name=c.name,
            role=c.plays,
            home=folder / c.name,
            wire=wires.nodes[c.index],
            puppet=not c.role.honest,
        )
        for c in world.citizens
    ]
    tools = sorted({step.tool for step, _ in plan if step.tool} | {HOSTILE_TOOL})
    for step, cast in plan:
        for citizen in cast.who:
            nodes[citizen.index].puppet |= step.does in STRINGS
        if step.does not in ("offend", "call"):
            continue
        for citizen in cast.who:
            nodes[citizen.index].tokens[step.role or AGENT] = ""
        for one in [*cast.seen_by, *(c for _, c in cast.whom if c is not None)]:
            nodes[one.index].serves = tuple(tools)
    return nodes


def _relay(
    scenario: Scenario, seed: int, folder: Path, wires: Wires, held: ExitStack
) -> "subprocess.Popen[bytes] | None":
    if wires.desk is None:
        return None
    file = folder / "scenario.toml"
    file.write_text(write_scenario(scenario))
    ends = [wire for wire in (*wires.nodes, wires.desk) if wire.tun is not None]
    files = [wire.tun for wire in ends if wire.tun is not None]
    words = [f"{wire.tun}:{wire.address}" for wire in ends]
    relay = subprocess.Popen(
        [sys.executable, "-m", "scenarios.real.relay", str(file), str(seed), *words],
        stdin=subprocess.PIPE,
        pass_fds=files,
        start_new_session=True,
    )
    held.callback(_end_relay, relay)
    return relay


def _end_relay(relay: "subprocess.Popen[bytes]") -> None:
    relay.kill()
    relay.communicate()


@attrs.define(kw_only=True)
class _Run:
    scenario: Scenario
    seed: int
    plan: Sequence[tuple[Step, Cast]]
    nodes: list[Node]
    victim: Node | None
    desk: Wire | None
    relay: "subprocess.Popen[bytes] | None"

    async def play(
        self, folder: Path, progress: Callable[[float], None]
    ) -> RealVerdict:
        """Make the nodes, play the story, look whether it ends well, stop them."""
        seen = Seen(self.nodes, {n.name for n in self.nodes if ROLES[n.role]().honest})
        failures: list[str] = []
        try:
            rules, cluster = self.scenario.rules, self.scenario.cluster
            await bear(folder, self.nodes, cluster, rules)
            seen.never = forbidden(self.scenario.expect.never, seen)
            await start_all(self._first(), self.desk)
            figures = await self._story(seen, failures, progress)
        finally:
            with trio.CancelScope(shield=True):
                await _stop(self.nodes)
        return RealVerdict(
            scenario=self.scenario.title,
            seed=self.seed,
            nodes=len(self.nodes),
            network="loopback" if self.relay is None else "namespaces",
            failures=tuple(failures),
            figures=figures,
            lines=seen.lines,
            unanswered=tuple(seen.unanswered),
            unserved=tuple(seen.unserved),
            disbelieved=seen.disbelieved,
            length_s=self.scenario.length_s,
        )

    def _first(self) -> list[Node]:
        """Those who are there from the beginning."""
        late = {
            c.index for step, cast in self.plan if step.does == "join" for c in cast.who
        }
        return [node for node in self.nodes if node.number not in late]

    async def _story(
        self, seen: Seen, failures: list[str], progress: Callable[[float], None]
    ) -> dict[str, float]:
        settled: dict[str, float] = {}
        async with trio.open_nursery() as nursery:
            conductor = Conductor(
                scenario=self.scenario,
                nodes=self.nodes,
                seen=seen,
                nursery=nursery,
                desk=self.desk,
                relay=self.relay,
                agents=self._agents(nursery),
                victim=self.victim,
            )
            for node in self._first():
                await conductor.attend(node)
            nursery.start_soon(_tell_progress, self.scenario.length_s, progress)
            async with trio.open_nursery() as acts:
                acts.start_soon(_end_when, seen.wait_violated, acts.cancel_scope)
                await conductor.play(self.plan)
                conductor.end()
                with trio.move_on_after(CALLS_S):
                    while seen.waiting:  # noqa: ASYNC110 - they tell nobody
                        await trio.sleep(LOOK_EVERY_S)
                settled = await self._settle(seen)
                acts.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
        expect = self.scenario.expect
        failures += filter(None, (node.death() for node in self.nodes))
        if self.relay is not None and self.relay.poll() is not None:
            failures.append("the relay has ended, and with it the network")
        if seen.violated is not None:
            failures.append(seen.violated)
        elif not settled:
            failures += [
                f"`{words}` did not come true within {expect.within_s:g} s"
                for words in await unmet(expect.eventually, seen)
            ]
        figures = await seen.figures() | settled
        if not failures:
            failures += missed(expect.bars, figures)
        return figures

    async def _settle(self, seen: Seen) -> dict[str, float]:
        """Wait until all of `eventually` holds; nothing, if it never does."""
        began, missing = trio.current_time(), seen.missing_bytes()
        sent = await seen.sent_bytes()
        expect = self.scenario.expect
        with trio.move_on_after(expect.within_s):
            while await unmet(expect.eventually, seen):  # noqa: ASYNC110 - nor do these
                await trio.sleep(LOOK_EVERY_S)
            found = {"settled_s": trio.current_time() - began}
            if missing:
                more = await seen.sent_bytes() - sent
                found["catch_up_ratio"] = more / missing
            return found
        return {}

    def _agents(self, nursery: trio.Nursery) -> "Agents | None":
        if not any(node.tokens for node in self.nodes):
            return None
        from scenarios.demo.agents import Agents, Seat

        return Agents(
            {
                f"{role} {node.name}": Seat(
                    agent=role,
                    node=node.name,
                    url=f"http://{node.wire.address}:{HTTP_PORT}/mcp",
                    token=token,
                )
                for node in self.nodes
                for role, token in node.tokens.items()
            },
            nursery,
        )


async def _end_when(
    wait: Callable[[], Awaitable[None]], scope: trio.CancelScope
) -> None:
    await wait()
    scope.cancel()


async def _tell_progress(length_s: float, progress: Callable[[float], None]) -> None:
    for piece in range(_PIECES):
        progress(piece / _PIECES)
        await trio.sleep(length_s / _PIECES)


async def _stop(nodes: Sequence[Node]) -> None:
    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(node.stop)
