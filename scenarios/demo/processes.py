"""Processes of the demo: started apart from the terminal, ended with all they started."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

_SET_CHILD_SUBREAPER: Final = 36
_STOP_S: Final = 8.0
_GENERATIONS: Final = 8
"""So often is looked who is left: the children of who is ended become ours."""
_SCENARIOS: Final = Path(__file__).parents[1]
_LOG: Final = "log.txt"
_PICKET: Final = Path(sys.executable).with_name("picket")


class Failed(Exception):
    """Something that must work did not; the sentence says what, and where to look."""


def first_sentence(failed: BaseException) -> str:
    """What the first of a group of exceptions says."""
    while isinstance(failed, BaseExceptionGroup):
        failed = failed.exceptions[0]
    if said := str(failed):
        return said
    slow = isinstance(failed, trio.TooSlowError)
    what = "no answer in time" if slow else f"{type(failed).__name__} without a word"
    frames = traceback.extract_tb(failed.__traceback__)
    ours = [f for f in frames if Path(f.filename).is_relative_to(_SCENARIOS)]
    if not ours:
        return what
    at = ours[-1]
    return f"{what}, at `{at.line}` ({Path(at.filename).name}, line {at.lineno})"


def save_logs(folder: Path) -> Path:
    """Copy all that the daemons under ``folder`` logged; returns to where."""
    saved = Path(tempfile.mkdtemp(prefix="picket-demo-logs-"))
    for log in sorted(folder.glob(f"*/{_LOG}")):
        shutil.copyfile(log, saved / f"{log.parent.name}.txt")
    return saved


@attrs.frozen
class Ran:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


def adopt_orphans() -> None:
    """Become the parent of whatever our processes leave behind (Linux only).

    So that at the end nothing that descends from the demo can hide.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


async def picket(*words: str | Path) -> Ran:
    """Run one `picket` command to its end."""
    done = await trio.run_process(
        [str(_PICKET), *map(str, words)],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


async def picket_or_fail(*words: str | Path) -> str:
    """Run one `picket` command that must succeed; returns what it printed."""
    ran = await picket(*words)
    if ran.code:
        command = " ".join(map(str, words))
        raise Failed(f"`picket {command}` exited {ran.code}: {ran.err.strip()}")
    return ran.out.strip()


@attrs.define
class Daemon:
    """One node's daemon as a process; its log goes to a file."""

    name: str
    log: Path
    process: trio.Process

    @classmethod
    async def start(cls, name: str, folder: Path, *, rogue: bool) -> "Daemon":
        """Start it in a process group of its own: Ctrl-C is ours to pass on."""
        module = [sys.executable, "-m", "scenarios.demo.rogue"]
        program = module if rogue else [str(_PICKET), "run"]
        log = folder / _LOG
        with log.open("wb") as file:
            process = await trio.lowlevel.open_process(
                [*program, "--config", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        return cls(name, log, process)

    def death(self) -> str | None:
        """The end of its log if it has ended."""
        if self.process.poll() is None:
            return None
        last = self.log.read_text(errors="replace").strip().splitlines()[-3:]
        return f"the daemon of {self.name} has ended: {' | '.join(last)}"

    async def stop(self) -> bool:
        """Ask it to end, then insist; whether it ended by itself."""
        with trio.CancelScope(shield=True):
            if self.process.poll() is None:
                self.process.terminate()
            with trio.move_on_after(_STOP_S):
                await self.process.wait()
                return self.process.returncode == 0
            os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()
            return False


async def stop_all(daemons: Sequence[Daemon]) -> list[str]:
    """Stop them together; returns the names of those that had to be killed."""
    stubborn: list[str] = []

    async def stop(daemon: Daemon) -> None:
        if not await daemon.stop():
            stubborn.append(daemon.name)

    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            for daemon in daemons:
                nursery.start_soon(stop, daemon)
    return sorted(stubborn)


def end_leftovers() -> list[str]:
    """Kill whatever of ours still runs; returns what it was."""
    left: list[str] = []
    for _ in range(_GENERATIONS):
        children = _children()
        if not children:
            break
        for pid in children:
            left += _end_leftover(pid)
    return left


def _end_leftover(pid: int) -> list[str]:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] == "Z"
        if not ended:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except OSError:
        return []
    return [] if ended else [b" ".join(words).decode(errors="replace").strip()]


def _children() -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(entry.parent.name))
    return found
