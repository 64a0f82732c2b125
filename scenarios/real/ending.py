"""Ends what runs daemons in order, however it is told to, and leaves no folder behind."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

import trio

T = TypeVar("T")


@contextmanager
def passing_folder(prefix: str) -> Iterator[Path]:
    """A folder for everything; gone at the end, even if we are killed."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    # Holds the other end of a pipe that breaks when we end, however we do.
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", 'cat; sleep 1; rm -rf "$1"', "sh", str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield folder
    finally:
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


async def until_sigterm(work: Callable[[], Awaitable[T]]) -> T:
    """Do this under trio, which a handler that raises could break.

    Raises:
        KeyboardInterrupt: SIGTERM came; in a group.
    """
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_interrupt, signals)
            found = await work()
            nursery.cancel_scope.cancel()
    return found


async def _interrupt(signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        raise KeyboardInterrupt
