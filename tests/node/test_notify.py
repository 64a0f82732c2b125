"""systemd's notify protocol, over a real datagram socket."""

import socket
from pathlib import Path

import pytest
import trio

from node.systemd.notify import Notifier, notifier_from


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "notify"))
    sock.settimeout(5)
    return sock


def test_ready_and_stopping_reach_the_manager(
    manager: socket.socket, tmp_path: Path
) -> None:
    with manager:
        told = Notifier(str(tmp_path / "notify"), None)
        told.ready("ledger")
        told.stopping()
        assert manager.recv(99) == b"READY=1\nSTATUS=ledger"
        assert manager.recv(99) == b"STOPPING=1"


def test_the_abstract_namespace_works() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0picket-test-notify")
        sock.settimeout(5)
        Notifier("@picket-test-notify", None).ready("x")
        assert sock.recv(99).startswith(b"READY=1")


async def test_the_watchdog_is_fed_twice_as_often_as_asked(
    manager: socket.socket, tmp_path: Path, autojump_clock: object
) -> None:
    with manager:
        fed = Notifier(str(tmp_path / "notify"), 10.0)
        with trio.move_on_after(21):
            await fed.feed_watchdog()
        manager.setblocking(False)
        pings = 0
        while pings < 9:
            try:
                assert manager.recv(99) == b"WATCHDOG=1"
            except BlockingIOError:
                break
            pings += 1
        assert pings == 5


async def test_without_a_manager_nothing_happens() -> None:
    alone = notifier_from({}, 1)
    alone.ready("x")
    await alone.feed_watchdog()
    assert (alone.address, alone.watchdog_s) == (None, None)


def test_a_manager_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "nobody"), None).ready("x")


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "garbage"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_only_a_watchdog_meant_for_us_is_fed(
    environment: dict[str, str], watchdog_s: float | None
) -> None:
    read = notifier_from({"NOTIFY_SOCKET": "/x", **environment}, pid=7)
    assert read == Notifier("/x", watchdog_s)
