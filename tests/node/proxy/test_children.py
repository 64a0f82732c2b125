"""The promises about servers that are our children."""

import os
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from gossip.errors import UserError
from node.proxy.children import STDERR_LINE_BYTES_MAX, start_child
from node.proxy.session import Lost
from node.proxy.stdio import ChildBackend
from tests.support.proxies import ECHO

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(other.pid, flush=True)
time.sleep(600)
"""
CHATTY = """
import sys
sys.stderr.write("first\\n" + "x" * 10_000 + "\\nlast \\xff\\n")
"""


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return ") Z " not in stat


async def test_a_server_that_ignores_every_hint_ends_with_all_it_started() -> None:
    child = await start_child([sys.executable, "-c", STUBBORN], keep_stderr=False)
    other = int(await child.wire.receive_some())
    with trio.fail_after(10):
        await child.stop(grace_s=0.1)

        assert child.returncode == -9
        while alive(other):
            await trio.lowlevel.checkpoint()


async def test_a_child_is_in_a_group_of_its_own() -> None:
    child = await start_child(ECHO, keep_stderr=False)
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
    await child.stop()
    assert child.returncode == 0


async def test_stderr_comes_line_by_line_and_bounded() -> None:
    child = await start_child([sys.executable, "-c", CHATTY])
    lines: list[str] = []
    with trio.fail_after(10):
        await child.log_stderr(lines.append)
    await child.stop()

    assert lines[0] == "first"
    assert lines[-1].startswith("last")
    assert all(len(line) <= STDERR_LINE_BYTES_MAX for line in lines)


async def test_stopping_twice_or_after_the_end_is_fine() -> None:
    child = await start_child([sys.executable, "-c", ""])
    await child.wait()
    await child.stop()
    await child.stop()


@pytest.mark.parametrize("command", ["/no/such", "/", "bad\0name"])
async def test_what_cannot_start_is_named(command: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UserError, match="cannot start"):
        await start_child([command])
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_message_over_the_limit_loses_the_server() -> None:
    code = "print('x' * 5_000_000, flush=True); input()"
    backend = ChildBackend(await start_child([sys.executable, "-c", code]))
    with trio.fail_after(10), pytest.raises(Lost, match="too large"):
        await backend.receive()
    await backend.aclose()


async def test_closing_wakes_whoever_waits_for_the_server() -> None:
    backend = ChildBackend(await start_child(ECHO))
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(Lost):
                await backend.receive()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(10):
            await backend.aclose()
