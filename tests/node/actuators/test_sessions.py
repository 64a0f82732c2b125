"""Sessions of the quarantined end, their servers with them; others go on."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import attrs
import trio

from enforcement.effects import Position
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import AgentId, NodeId
from node.actuators.sessions import SessionEnder
from node.log import Log
from node.proxy.children import Child, start_child
from node.proxy.session import Session
from node.proxy.stdio import ChildBackend
from scenarios.toy import ToySuite
from tests.support.members import member

SUITE = ToySuite()
ASH, BIRCH = (member(SUITE, name).node for name in ("ash", "birch"))
BOT, CLERK = AgentId(b"b" * 32), AgentId(b"c" * 32)
STUBBORN = (
    "import signal,subprocess,sys,time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(c.pid, flush=True)\n"
    "time.sleep(600)\n"
)


@attrs.frozen
class Who:
    agent: AgentId
    node: NodeId


@attrs.define(eq=False)
class Stand:
    """As much of a session as its end needs."""

    principal: Who
    position: Position
    server: str
    backend: object
    name: bytes = bytes(32)

    @property
    def audience(self) -> NodeId:
        return BIRCH if self.position is Position.EGRESS else ASH


class Stream:
    """The way to a server elsewhere."""

    closed = False

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def ender(*open_now: Stand) -> AsyncIterator[SessionEnder]:
    made = SessionEnder(
        sessions=lambda: cast("tuple[Session, ...]", open_now),
        log=Log("error"),
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            yield made
            nursery.cancel_scope.cancel()


def alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def stubborn() -> tuple[Child, int]:
    """A server that ignores SIGTERM, and a process that it started."""
    child = await start_child([sys.executable, "-c", STUBBORN], keep_stderr=False)
    return child, int(await child.wire.receive_some(64))


async def test_a_local_server_dies_with_all_it_started_before_anything_else() -> None:
    child, grandchild = await stubborn()
    other, kept = await stubborn()
    mine = Stand(Who(BOT, ASH), Position.LOCAL, "sql", ChildBackend(child))
    theirs = Stand(Who(CLERK, ASH), Position.LOCAL, "sql", ChildBackend(other))
    async with ender(mine, theirs) as made:
        made.end(Subject(SubjectKind.AGENT, BOT))
        made.end(Subject(SubjectKind.AGENT, BOT))  # said twice is done once
        assert await child.wait() == -9
        while alive(grandchild):  # noqa: ASYNC110 the kernel buries it
            await trio.sleep(0.005)
        assert alive(kept)
        assert other.returncode is None
    await other.stop(0.05)


async def test_a_nodes_quarantine_ends_what_it_calls_and_what_it_provides() -> None:
    streams = [Stream() for _ in range(4)]
    calls_us = Stand(Who(BOT, BIRCH), Position.INGRESS, "ash-db", streams[0])
    we_call = Stand(Who(CLERK, ASH), Position.EGRESS, "birch-db", streams[1])
    local = Stand(Who(CLERK, ASH), Position.LOCAL, "x", streams[2])
    async with ender(calls_us, we_call, local) as made:
        made.end(Subject(SubjectKind.ARTEFACT, BIRCH))
        made.end(Subject(SubjectKind.NODE, BIRCH))
        while not (streams[0].closed and streams[1].closed):
            await trio.lowlevel.checkpoint()
        assert not streams[2].closed


async def test_a_sessions_quarantine_ends_that_session_alone() -> None:
    streams = [Stream() for _ in range(2)]
    one = Stand(Who(BOT, ASH), Position.EGRESS, "birch-db", streams[0], b"1" * 32)
    two = Stand(Who(BOT, ASH), Position.EGRESS, "birch-db", streams[1], b"2" * 32)
    async with ender(one, two) as made:
        made.end(Subject(SubjectKind.SESSION, b"1" * 32))
        while not streams[0].closed:
            await trio.lowlevel.checkpoint()
        assert not streams[1].closed


async def test_our_own_conviction_ends_all_we_provide() -> None:
    stream = Stream()
    async with ender(Stand(Who(BOT, ASH), Position.LOCAL, "x", stream)) as made:
        made.end(Subject(SubjectKind.NODE, ASH))
        while not stream.closed:
            await trio.lowlevel.checkpoint()
