"""Links between real processes: one is killed, one is frozen."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from gossip.units import NodeId
from node.links.events import LinkDown, LinkEnd
from tests.node.links.clusters import PATIENCE_S, Member
from tests.node.links.clusters import running as links_running
from tests.support.births import newborn

ROOT = Path(__file__).parents[3]
CHILD = """
import sys, trio
from tests.node.links.clusters import Member, running
from tests.support.births import newborn
async def main():
    who, other = newborn(), bytes.fromhex(sys.argv[1])
    member = Member(who, {who.node, other})
    async with running(member):
        (host, port), = member.links.listening
        print(who.node.hex(), host, port, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@asynccontextmanager
async def child_linked() -> AsyncIterator[tuple[Member, subprocess.Popen[bytes]]]:
    """A member here that is linked with a member in a process of its own."""
    who = newborn()
    roster = {who.node}
    member = Member(who, roster)
    with subprocess.Popen(  # noqa: ASYNC220  # starting one does not block
        [sys.executable, "-c", CHILD, who.node.hex()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as child:
        try:
            assert child.stdout is not None
            with trio.fail_after(PATIENCE_S):
                line = await trio.to_thread.run_sync(child.stdout.readline)
            node, host, port = line.split()
            other = NodeId(bytes.fromhex(node.decode()))
            roster.add(other)
            async with links_running(member):
                member.links.want(other, [(host.decode(), int(port))])
                await member.until_up()
                yield member, child
        finally:
            child.send_signal(signal.SIGCONT)
            child.kill()


@pytest.mark.live
async def test_a_killed_peer_is_noticed_at_once() -> None:
    async with child_linked() as (member, child):
        child.kill()
        with trio.fail_after(2):
            await member.until_down()
        assert member.told(LinkDown)[0].why in (LinkEnd.PEER_CLOSED, LinkEnd.BROKEN)


@pytest.mark.live
async def test_a_stopped_peer_is_noticed_within_its_silence() -> None:
    async with child_linked() as (member, child):
        child.send_signal(signal.SIGSTOP)
        with trio.fail_after(11):
            await member.until_down()
        assert member.told(LinkDown)[0].why is LinkEnd.SILENT
