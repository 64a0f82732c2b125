"""Ends what runs daemons in order, however it is told to, and leaves no folder behind."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, TypeVar

import trio

T = TypeVar("T")
_KEEP: Final = 'cat; for n in 1 2 3 4 5; do sleep 1; rm -rf "$1" && exit; done'
"""More than once: who dies with us may still be writing."""


@contextmanager
def passing_folder(prefix: str) -> Iterator[Path]:
    """A folder for everything; gone at the end, even if we are killed."""
    with ExitStack() as held:
        with _put_off(signal.SIGINT, signal.SIGTERM):
            folder = Path(tempfile.mkdtemp(prefix=prefix))
            # Holds the other end of a pipe that breaks when we end, however we do.
            keeper = subprocess.Popen(
                ["/bin/sh", "-c", _KEEP, "sh", str(folder)],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
            held.callback(_clear, folder, keeper)
        yield folder


def _clear(folder: Path, keeper: "subprocess.Popen[bytes]") -> None:
    with _put_off(signal.SIGINT, signal.SIGTERM):
        shutil.rmtree(folder, ignore_errors=True)
        keeper.kill()
        keeper.communicate()


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Let SIGTERM end us as Ctrl-C does: in order.

    Not by way of SIGINT, which is ignored in the background of a script.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_until_sigterm(work: Callable[[], Awaitable[T]]) -> T:
    """Do this under trio, which a handler that raises could break.

    Raises:
        KeyboardInterrupt: SIGTERM came; in a group, or alone.
    """
    with _put_off(signal.SIGTERM) as came:
        found: T = trio.run(_until_sigterm, work, came)
    return found


@contextmanager
def _put_off(*numbers: signal.Signals) -> Iterator[list[int]]:
    """Let these signals come only when this is done; those that came until now."""
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


async def _until_sigterm(work: Callable[[], Awaitable[T]], came: list[int]) -> T:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        if came:  # while trio began
            raise KeyboardInterrupt
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_interrupt, signals)
            found = await work()
            nursery.cancel_scope.cancel()
    return found


async def _interrupt(signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        raise KeyboardInterrupt
