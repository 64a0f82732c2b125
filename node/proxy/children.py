"""A stdio MCP server as a child: its own process group, ended with its session.

::

    running ──close stdin──▶ 1.5 s ──SIGTERM──▶ 1.5 s ──SIGKILL──▶ gone

Signals go to the group, so that what the server started ends with it.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

import trio

from gossip.errors import UserError
from node.proxy.lines import LineSplitter
from node.proxy.raw import READ_BYTES, Wire

STDERR_LINE_BYTES_MAX = 4_096
GRACE_S = 1.5

LogLine = Callable[[str], None]


class Child:
    """One running command whose stdin and stdout are ours.

    Attributes:
        wire: Reads its stdout, writes its stdin.
        pid: Of the child, and of its process group.
    """

    def __init__(self, process: trio.Process, wire: Wire, stderr: int | None) -> None:
        self._process = process
        self._stderr = stderr
        self.wire = wire
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until it has exited; returns the exit status."""
        return await self._process.wait()

    def signal_group(self, number: int) -> None:
        """Send a signal to the child and all it started."""
        # Nobody left is fine; macOS says it as a PermissionError.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def log_stderr(self, log: LogLine) -> None:
        """Hand each line of stderr to ``log``, cut to a bounded length."""
        if self._stderr is None:
            return
        fd, self._stderr = self._stderr, None
        source, lines = Wire(fd, None), LineSplitter(STDERR_LINE_BYTES_MAX)
        try:
            while data := await source.receive_some(READ_BYTES):
                for line in lines.feed(data):
                    if line is None:
                        log("(a line too long to keep)")
                    else:
                        log(line.decode("utf-8", "replace").rstrip())
        finally:
            source.close()

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """End it, politely first; returns when it and its group are gone."""
        with trio.CancelScope(shield=True):
            self.wire.close_write()
            if not await self._gone_within(grace_s):
                self.signal_group(signal.SIGTERM)
                await self._gone_within(grace_s)
            self.signal_group(signal.SIGKILL)
            await self._process.wait()
            self.wire.close()
            if self._stderr is not None:
                os.close(self._stderr)
                self._stderr = None

    async def _gone_within(self, grace_s: float) -> bool:
        with trio.move_on_after(grace_s):
            await self._process.wait()
            return True
        return False


async def start_child(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    keep_stderr: bool = True,
) -> Child:
    """Start ``command``. With ``keep_stderr``, read it by `Child.log_stderr`.

    Raises:
        UserError: it cannot be started.
    """
    opened: list[int] = []
    ours_err: int | None = None
    theirs_err: int | None = None
    try:
        theirs_in, ours_out = _pipe(opened)
        ours_in, theirs_out = _pipe(opened)
        if keep_stderr:
            ours_err, theirs_err = _pipe(opened)
        process = await trio.lowlevel.open_process(
            list(command),
            stdin=theirs_in,
            stdout=theirs_out,
            stderr=theirs_err,
            env=None if env is None else dict(env),
            start_new_session=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as refused:
        for fd in opened:
            os.close(fd)
        reason = getattr(refused, "strerror", None) or refused
        raise UserError(
            f"cannot start `{command[0]}`: {reason}; check the command of the server"
        ) from refused
    for theirs in (theirs_in, theirs_out, theirs_err):
        if theirs is not None:
            os.close(theirs)
    return Child(process, Wire(ours_in, ours_out), ours_err)


def _pipe(opened: list[int]) -> tuple[int, int]:
    ends = os.pipe()
    opened.extend(ends)
    return ends
