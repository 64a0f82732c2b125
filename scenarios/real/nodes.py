"""Real nodes: folders made by `picket`, daemons as processes, and what they are asked."""

import ctypes
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final, cast

import attrs
import trio

from scenarios.demo.control import Json, Line, NoAnswer, ask
from scenarios.demo.processes import Failed, picket_or_fail
from scenarios.evidence import OFFENCE, PERMIT, SERVER
from scenarios.real.wires import Wire, inside
from scenarios.script import Cluster

GOSSIP_PORT: Final = 7_946
HTTP_PORT: Final = 8_080
METRICS_PORT: Final = 9_464
OPERATOR: Final = "opal"
AGENT: Final = "agent"
"""What an agent is called that has no other role; all are called as their role."""
_READY_S: Final = 90.0
_STOP_S: Final = 10.0
_POLL_S: Final = 0.05
_AT_ONCE: Final = 2
"""Commands and daemons that are started side by side: each imports for a second."""
_DIE_WITH_PARENT: Final = 1
_SAMPLE: Final = re.compile(
    r"^(picket_[a-z_]+)(\{[^}]*\})? ([0-9.e+-]+)$", re.MULTILINE
)

_libc: Final = ctypes.CDLL(None)

Held = dict[tuple[bytes, bytes, int], int]
"""Batches by author, incarnation and number: how many bytes each has."""


@attrs.define(eq=False)
class Node:
    """One node: its folder, its wire, and its daemon's process while there is one.

    Attributes:
        puppet: Whether it runs `scenarios.real.puppet` instead of `picket run`.
        serves: The tools that its MCP server has; without any it has no server.
        tokens: Of the agents beside it, by their roles.
    """

    number: int
    name: str
    role: str
    home: Path
    wire: Wire
    puppet: bool = False
    serves: tuple[str, ...] = ()
    tokens: dict[str, str] = attrs.field(factory=dict, repr=False)
    id: bytes = b""
    process: subprocess.Popen[bytes] | None = None
    meant_up: bool = False
    """Whether its daemon should run now, by the story."""
    lived: dict[str, float] = attrs.field(factory=dict)
    """What the metrics of earlier lives said, summed."""

    @property
    def subject(self) -> str:
        """As reports name it."""
        return f"node:{self.id.hex()}"

    @property
    def server(self) -> str:
        """What its server is called."""
        return f"{SERVER}-{self.number}"

    @property
    def is_up(self) -> bool:
        """Whether its process runs, or is stopped for a while."""
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> Path:
        """What it wrote to stderr."""
        return self.home / "log.txt"

    def start(self, desk: Wire | None) -> None:
        """Start its daemon inside its namespace, without waiting."""
        module = "scenarios.real.puppet" if self.puppet else "node.cli.main"
        words = [] if self.puppet else ["run", "-c"]
        self.meant_up = True
        home = desk.space if desk is not None else None
        with self.log.open("ab") as log, inside(self.wire, home):
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *words, str(self.home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(_die_with_parent, os.getpid()),
            )

    async def ask(self, do: str, **args: Json) -> Json:
        """Ask its daemon.

        Raises:
            NoAnswer: it is not there, or says why not.
        """
        return await ask(self.home / "control.sock", do, args)

    async def pull(self, do: str, **args: Json) -> None:
        """Pull a string of a puppet."""
        await ask(self.home / "strings.sock", do, args)

    async def status(self) -> Line:
        """Its status."""
        return cast("Line", await self.ask("status"))

    async def standings(self) -> list[Line]:
        """Everybody who is not clear in its eyes."""
        return cast("list[Line]", await self.ask("quarantine.list"))

    async def kill(self) -> None:
        """End it at once, as a crash does; its metrics are read before."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to end, then insist."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: int) -> None:
        process = self.process
        if process is None or not self.is_up:
            return
        self.meant_up = False
        for name, value in (await self.metrics()).items():
            self.lived[name] = value
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        with trio.move_on_after(_STOP_S):
            while process.poll() is None:  # noqa: ASYNC110 - a process tells nobody
                await trio.sleep(_POLL_S)
            return
        process.kill()
        process.wait()

    async def metrics(self) -> dict[str, float]:
        """Its counters over all its lives, by name and labels; none if it is silent."""
        text = ""
        if self.is_up:
            text = await trio.to_thread.run_sync(_scrape, self.wire.address)
        found = {m[1] + (m[2] or ""): float(m[3]) for m in _SAMPLE.finditer(text)}
        return {
            name: found.get(name, 0.0) + self.lived.get(name, 0.0)
            for name in {**found, **self.lived}
        }

    def held(self) -> Held:
        """The batches on its disk."""
        file = self.home / "picket.db"
        if not file.exists():
            return {}
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)
        try:
            rows = connection.execute(
                "SELECT author, incarnation, number, length(body) FROM batches"
            ).fetchall()
        finally:
            connection.close()
        return {(author, life, number): size for author, life, number, size in rows}

    def lose_disk(self) -> None:
        """Forget everything but who it is."""
        for file in self.home.glob("picket.db*"):
            file.unlink()

    def death(self) -> str | None:
        """The end of its log if its process has ended and should not have."""
        if self.is_up or not self.meant_up:
            return None
        lines = self.log.read_text(errors="replace").strip().splitlines()[-3:]
        return f"the daemon of {self.name} has ended: {' | '.join(lines)}"


async def bear(
    folder: Path, nodes: Sequence[Node], cluster: Cluster, rules: str
) -> None:
    """Make keys, cards, founders' file, agents and configurations, all by `picket`.

    Args:
        rules: The policy of all of them, in Cedar.

    Raises:
        Failed: a command did not succeed.
    """
    limit = trio.CapacityLimiter(_AT_ONCE)

    async def one(node: Node) -> None:
        async with limit:
            await _bear_node(node)

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(one, node)
    operators = folder / "operators"
    await picket_or_fail("operator", "init", operators, "--name", OPERATOR)
    words: list[str | Path] = ["founders", *(n.home / "card.toml" for n in nodes)]
    words += ["--operator", operators / f"{OPERATOR}.card.toml"]
    words += ["--name", "real", "--output", folder / "founders.toml"]
    if cluster.colluders is not None:
        words += ["--colluders", str(cluster.colluders)]
    await picket_or_fail(*words)
    for node in nodes:
        await _settle(node, folder, cluster.observe, rules)


async def _bear_node(node: Node) -> None:
    address = node.wire.address
    words: list[str | Path] = ["init", node.home, "--name", node.name]
    words += [
        "--listen",
        f"{address}:{GOSSIP_PORT}",
        "--http",
        f"{address}:{HTTP_PORT}",
    ]
    words += ["--metrics", f"{address}:{METRICS_PORT}"]
    for role in node.tokens:
        words += ["--grant", role]
    if node.serves:
        words += ["--server", node.server]
    told = await picket_or_fail(*words)
    node.id = bytes.fromhex(told.split()[2])


async def _settle(node: Node, folder: Path, observe: bool, rules: str) -> None:
    (node.home / "founders.toml").write_bytes((folder / "founders.toml").read_bytes())
    file = node.home / "config.toml"
    mode = 'mode = "observe"' if observe else 'mode = "enforce"'
    text = re.sub(r"^mode = .*$", mode, file.read_text(), flags=re.MULTILINE)
    if node.serves:
        words = [sys.executable, "-m", "scenarios.real.tools", *node.serves]
        text += f"\n[servers.{node.server}]\ncommand = {json.dumps(words)}\n"
    file.write_text(text)
    policy = node.home / "policy"
    for old in policy.glob("*.cedar"):
        old.unlink()
    (policy / "offence.cedar").write_text(OFFENCE)
    (policy / "scenario.cedar").write_text(rules or PERMIT)
    for role in node.tokens:
        told = await picket_or_fail(
            *("agent", "add", role, "--role", role, "--config", node.home)
        )
        node.tokens[role] = told.split()[0]


async def start_all(nodes: Sequence[Node], desk: Wire | None) -> None:
    """Start daemons, and wait until each is linked with enough of the others.

    Raises:
        Failed: one ended, or they do not find each other in time.
    """
    for begin in range(0, len(nodes), _AT_ONCE):
        some = nodes[begin : begin + _AT_ONCE]
        for node in some:
            node.start(desk)
        for node in some:
            await wait_ready(node)
    enough = min(4, len(nodes) - 1)
    with trio.move_on_after(_READY_S):
        for node in nodes:
            while await _linked(node) < enough:
                _check_alive(nodes)
                await trio.sleep(_POLL_S)
        while len({frozenset(n.held()) for n in nodes}) > 1:  # noqa: ASYNC110 - so do disks
            await trio.sleep(_POLL_S)
        return
    raise Failed(f"the nodes did not find each other within {_READY_S:.0f} s")


async def wait_ready(node: Node) -> None:
    """Wait until a daemon answers.

    Raises:
        Failed: it ended, or does not answer in time.
    """
    with trio.move_on_after(_READY_S):
        while True:
            _check_alive([node])
            try:
                await node.status()
            except NoAnswer:
                await trio.sleep(_POLL_S)
            else:
                return
    raise Failed(f"{node.name} did not answer within {_READY_S:.0f} s")


def _check_alive(nodes: Sequence[Node]) -> None:
    if dead := [sentence for node in nodes if (sentence := node.death())]:
        raise Failed("; ".join(dead))


async def _linked(node: Node) -> int:
    members = cast("list[Line]", (await node.status())["members"])
    return sum(bool(member["linked"]) for member in members)


def _scrape(address: str) -> str:
    connection = HTTPConnection(address, METRICS_PORT, timeout=5)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except (HTTPException, OSError):
        return ""
    finally:
        connection.close()


def _die_with_parent(parent: int) -> None:
    _libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before we could ask
