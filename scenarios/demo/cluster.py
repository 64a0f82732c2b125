"""The cluster: five state directories made by `picket`, five daemons, their ends."""

import json
import random
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, cast

import attrs
import trio

from scenarios.demo import bank
from scenarios.demo.agents import Seat
from scenarios.demo.control import Json, Line, NoAnswer, ask
from scenarios.demo.processes import Daemon, Failed, picket_or_fail, stop_all

READY_S: Final = 40.0
_POLL_S: Final = 0.02
_PORTS: Final = range(20_000, 32_000)
"""Below what the kernel hands out to those who dial."""
_AT_ONCE: Final = 2
"""Commands run side by side; each mostly starts an interpreter."""


@attrs.define
class Cluster:
    """Where everything is, and how to talk to it."""

    folder: Path
    daemons: dict[str, Daemon]
    ports: Mapping[str, tuple[int, int]]
    tokens: Mapping[str, str]

    def home(self, name: str) -> Path:
        """A node's state directory."""
        return self.folder / name

    def socket(self, name: str) -> Path:
        """A node's control socket."""
        return self.home(name) / "control.sock"

    def operator_key(self, name: str) -> Path:
        """An operator's key file."""
        return self.folder / "operators" / f"{name}.key"

    def seats(self) -> dict[str, Seat]:
        """Where each agent sits."""
        return {
            agent: Seat(
                agent=agent,
                node=member.name,
                url=f"http://127.0.0.1:{self.ports[member.name][1]}/mcp",
                token=self.tokens[agent],
            )
            for member in bank.MEMBERS
            for agent in member.agents
        }

    async def status(self, name: str) -> Line:
        """What `picket status --json` prints."""
        return cast("Line", await ask(self.socket(name), "status"))

    async def linked(self, name: str) -> set[str]:
        """Whom a node is linked with."""
        members = cast("list[Line]", (await self.status(name))["members"])
        return {str(member["name"]) for member in members if member["linked"]}

    async def standings(self, name: str) -> dict[str, Line]:
        """Everybody who is not clear, as this node sees it, by subject."""
        rows = cast("list[Line]", await ask(self.socket(name), "quarantine.list"))
        return {str(row["subject"]): row for row in rows}

    async def audit(self, name: str) -> list[Line]:
        """The last decisions of a node's gates."""
        return cast("list[Line]", await ask(self.socket(name), "audit", {"last": 200}))

    async def tell(self, name: str, do: str, args: Mapping[str, Json]) -> Json:
        """Ask a node's daemon anything else."""
        return await ask(self.socket(name), do, args)

    def dead(self) -> list[str]:
        """What became of daemons that should run and do not."""
        told = [daemon.death() for daemon in self.daemons.values()]
        return [sentence for sentence in told if sentence is not None]

    async def wait_linked(self, within_s: float) -> None:
        """Wait until everybody is linked with everybody.

        Raises:
            Failed: not in time, or a daemon has ended.
        """
        missing: dict[str, set[str]] = {}
        with trio.move_on_after(within_s):
            while True:
                if dead := self.dead():
                    raise Failed("; ".join(dead))
                missing = {}
                for name in bank.NAMES:
                    try:
                        linked = await self.linked(name)
                    except NoAnswer:
                        linked = set()
                    if others := {*bank.NAMES} - {name} - linked:
                        missing[name] = others
                if not missing:
                    return
                await trio.sleep(_POLL_S)
        pairs = "; ".join(f"{n} lacks {' '.join(sorted(missing[n]))}" for n in missing)
        raise Failed(f"not everybody is linked after {within_s:.0f} s: {pairs}")


async def make(folder: Path, servers: Path) -> Cluster:
    """Make keys, cards, founders' file, agents and configurations, all by `picket`.

    Raises:
        Failed: a command did not succeed.
    """
    bank.fill(folder)
    ports = _free_ports()
    await _together([partial(_make_node, folder, m, ports) for m in bank.MEMBERS])
    operators = folder / "operators"
    for name in bank.OPERATORS:
        await picket_or_fail("operator", "init", operators, "--name", name)
    await _join(folder, operators)
    commands = bank.server_commands(folder, servers)
    tokens: dict[str, str] = {}
    await _together(
        [partial(_settle, folder / m.name, m, commands, tokens) for m in bank.MEMBERS]
    )
    return Cluster(folder, {}, ports, tokens)


@asynccontextmanager
async def running(cluster: Cluster) -> AsyncIterator[None]:
    """Run the five daemons, and stop them whatever happens."""
    try:
        for member in bank.MEMBERS:
            home = cluster.home(member.name)
            daemon = await Daemon.start(member.name, home, rogue=member.rogue)
            cluster.daemons[member.name] = daemon
        await cluster.wait_linked(READY_S)
        yield
    finally:
        stubborn = await stop_all(list(cluster.daemons.values()))
    if stubborn:
        raise Failed(f"had to be killed: {', '.join(stubborn)}")


async def _make_node(
    folder: Path, member: bank.Member, ports: Mapping[str, tuple[int, int]]
) -> None:
    gossip, http = ports[member.name]
    words: list[str | Path] = ["init", folder / member.name, "--name", member.name]
    words += ["--listen", f"127.0.0.1:{gossip}", "--http", f"127.0.0.1:{http}"]
    for role in member.grants:
        words += ["--grant", role]
    if member.serves:
        words += ["--server", member.serves]
    await picket_or_fail(*words)


async def _join(folder: Path, operators: Path) -> None:
    words: list[str | Path] = ["founders", "--name", bank.CLUSTER]
    words += ["--output", folder / "founders.toml"]
    for name in bank.OPERATORS:
        words += ["--operator", operators / f"{name}.card.toml"]
    words += [folder / name / "card.toml" for name in bank.NAMES]
    await picket_or_fail(*words)


async def _settle(
    home: Path,
    member: bank.Member,
    commands: Mapping[str, Sequence[str]],
    tokens: dict[str, str],
) -> None:
    """Hand a node the founders' file, its configuration and its agents."""
    (home / "founders.toml").write_bytes((home.parent / "founders.toml").read_bytes())
    file = home / "config.toml"
    text = re.sub(
        r"^mode = .*$", 'mode = "enforce"', file.read_text(), flags=re.MULTILINE
    )
    if member.serves:
        command = json.dumps([*commands[member.serves]])
        text += f"\n[servers.{member.serves}]\ncommand = {command}\n"
    if not member.unlimited:
        for server, (per_second, burst) in bank.RATES.items():
            text += f"\n[rates.{server}]\ncalls_per_second = {per_second}\n"
            text += f"burst = {burst}\n"
    file.write_text(text)
    for agent, roles in member.agents.items():
        words = [word for role in roles for word in ("--role", role)]
        told = await picket_or_fail("agent", "add", agent, *words, "--config", home)
        tokens[agent] = told.split()[0]


async def _together(jobs: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run jobs side by side, as many as the machine bears."""
    limit = trio.CapacityLimiter(_AT_ONCE)

    async def run(job: Callable[[], Awaitable[None]]) -> None:
        async with limit:
            await job()

    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(run, job)


def _free_ports() -> dict[str, tuple[int, int]]:
    """Two ports a node that nobody listens on."""
    free: list[int] = []
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        free.append(port)
    if len(free) < 2 * len(bank.NAMES):
        raise Failed("no free ports on 127.0.0.1")
    return {name: (free[2 * i], free[2 * i + 1]) for i, name in enumerate(bank.NAMES)}
