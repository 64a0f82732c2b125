"""A signal at whatever moment ends a run in order: none is lost, and nothing stays."""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import pytest
import trio

from scenarios.real.ending import ending_in_order, passing_folder, run_until_sigterm
from tests.support.daemons import ROOT


class Receiver(Protocol):
    def __call__(self, *numbers: signal.Signals) -> AbstractContextManager[object]: ...


@pytest.fixture(autouse=True)
def _heeded() -> Iterator[None]:
    """Behind a script's `&` SIGINT is ignored, and so would it be here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def told() -> None:
    signal.raise_signal(signal.SIGTERM)


def run_with_receiver(
    around: Callable[[Receiver], Receiver], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Run a short work, with this done where trio takes signals; what was done."""
    monkeypatch.setattr(trio, "open_signal_receiver", around(trio.open_signal_receiver))
    done: list[str] = []

    async def work() -> None:
        await trio.lowlevel.checkpoint()
        done.append("work")

    try:
        with ending_in_order():
            run_until_sigterm(work)
    except* KeyboardInterrupt:
        done.append("interrupted")
    return done


def test_a_signal_while_trio_begins_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    def around(real: Receiver) -> Receiver:
        @contextmanager
        def open_late(*numbers: signal.Signals) -> Iterator[object]:
            told()
            with real(*numbers) as signals:
                yield signals

        return open_late

    assert run_with_receiver(around, monkeypatch) == ["interrupted"]


def test_a_signal_while_trio_ends_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    def around(real: Receiver) -> Receiver:
        @contextmanager
        def close_early(*numbers: signal.Signals) -> Iterator[object]:
            with real(*numbers) as signals:
                yield signals
            told()

        return close_early

    assert run_with_receiver(around, monkeypatch) == ["work", "interrupted"]


def test_a_signal_while_work_goes_on_cancels_it() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            told()
            await trio.sleep_forever()
        finally:
            ended.append("in order")

    with ending_in_order(), pytest.RaisesGroup(KeyboardInterrupt):
        run_until_sigterm(work)
    assert ended == ["in order"]


def test_a_signal_while_the_folder_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make = tempfile.mkdtemp

    def interrupted(*words: str, **more: str) -> str:
        made = make(*words, **more)
        told()
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", interrupted)
    with pytest.raises(KeyboardInterrupt), ending_in_order(), passing_folder("ash-"):
        pytest.fail("it was told to end")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_folder_goes_does_not_keep_it(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    clear = shutil.rmtree

    def interrupted(folder: Path, *, ignore_errors: bool) -> None:
        signal.raise_signal(number)
        clear(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with (
        pytest.raises(KeyboardInterrupt),
        ending_in_order(),
        passing_folder("ash-") as folder,
    ):
        (folder / "held").write_text("by a daemon")
    assert list(tmp_path.iterdir()) == []


FAMILY = """
import subprocess, time
from pathlib import Path
from scenarios.demo.processes import adopt_orphans, end_leftovers
adopt_orphans()
with subprocess.Popen(
    ["/bin/sh", "-c", "sleep 600 & echo $!; exec sleep 601"], stdout=subprocess.PIPE
) as parent:
    child = int(parent.stdout.readline())
    named = {parent.pid: b"sleep 601 ", child: b"sleep 600 "}
    deadline = time.monotonic() + 30  # a process that is just beginning has no name
    while time.monotonic() < deadline and any(
        Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\\0", b" ") != name
        for pid, name in named.items()
    ):
        time.sleep(0.005)
    print(end_leftovers(), end_leftovers())
"""


def test_the_children_of_what_is_left_are_ended_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAMILY],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "['sleep 601', 'sleep 600'] []\n"
