"""Operators' hooks: a command told what happened, as JSON on its stdin.

No shell, a deadline, one run at a time and hook. What comes while a hook is
busy waits; beyond a bound the oldest is dropped and said to be. A hook cannot
hold anything up: what it is told has already happened.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections import deque
from typing import Final

import attrs
import trio

from node.jsonlines import Json
from node.log import Log

WAITING_MAX: Final = 256
_INHERITED: Final = ("HOME", "LANG", "LC_ALL", "PATH", "TZ", "USER")


@attrs.define(kw_only=True)
class Hook:
    """One command of the configuration.

    Attributes:
        events: What it wants to be told; empty for everything.
        deadline_s: After so long the command and all it started are killed.
    """

    name: str
    command: tuple[str, ...]
    events: frozenset[str]
    deadline_s: float
    log: Log
    _waiting: deque[bytes] = attrs.field(init=False, factory=deque)
    _more: trio.Event = attrs.field(init=False, factory=trio.Event)
    _retired: bool = attrs.field(init=False, default=False)

    def tell(self, event: str, facts: dict[str, Json]) -> None:
        """Run the command soon, if it wants this. Never blocks."""
        if self.events and event not in self.events:
            return
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self.log.warn(f"hook {self.name} is too slow: its oldest news was dropped")
        self._waiting.append(json.dumps({"v": 1, "event": event, **facts}).encode())
        self._more.set()

    def retire(self) -> None:
        """It is told nothing more: what waits is the last it hears."""
        self._retired = True
        self._more.set()

    async def run(self) -> None:
        """Run what waits, one after the other, until cancelled or retired."""
        while not self._retired:
            await self._more.wait()
            self._more = trio.Event()
            while self._waiting:
                await self._run_once(self._waiting.popleft())

    async def _run_once(self, news: bytes) -> None:
        try:
            process = await trio.lowlevel.open_process(
                list(self.command),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={k: v for k, v in os.environ.items() if k in _INHERITED},
                start_new_session=True,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as wrong:
            self.log.error(f"hook {self.name} could not be started: {wrong}")
            return
        try:
            with trio.move_on_after(self.deadline_s) as patience:
                await _feed(process, news)
                await process.wait()
        finally:
            await _end(process)
        if patience.cancelled_caught:
            self.log.warn(f"hook {self.name} was killed after {self.deadline_s:g} s")
        elif process.returncode:
            self.log.warn(f"hook {self.name} ended with status {process.returncode}")


async def _feed(process: trio.Process, news: bytes) -> None:
    assert process.stdin is not None, "it was asked for"
    try:
        async with process.stdin:
            await process.stdin.send_all(news + b"\n")
    except trio.BrokenResourceError:
        return  # it does not care to read; its business


async def _end(process: trio.Process) -> None:
    """Kill what is left of it and of what it started."""
    with trio.CancelScope(shield=True):
        # Nobody left is fine; macOS says it as a PermissionError.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if process.stdin is not None:
            await process.stdin.aclose()
