"""Calls taken in: a stranger that calls without pause holds up nobody else."""

import errno
import os
import socket
from contextlib import AbstractContextManager, AsyncExitStack

import pytest
import trio
import trio.testing

from gossip.units import MonoMs
from node.links.events import HALF_OPEN_MAX, HALF_OPEN_PER_ADDRESS_MAX
from node.links.gatekeeper import Gatekeeper
from node.links.listening import Address, open_listeners, take_calls
from tests.support.births import SUITE, newborn

MEMBER = "127.0.0.9"


class Door:
    """Keeps calls half open, and notes whose."""

    def __init__(self) -> None:
        who = newborn().node
        self.gate = Gatekeeper(who, set(), SUITE.random, lambda: MonoMs(0), {MEMBER})
        self.served: list[str] = []

    async def serve(
        self,
        stream: trio.SocketStream,
        at: Address,
        half_open: AbstractContextManager[object],
    ) -> None:
        self.served.append(at[0])
        with half_open:
            await trio.sleep_forever()

    async def until_served(self, host: str, count: int) -> None:
        while self.served.count(host) < count:
            await trio.lowlevel.checkpoint()


def strangers(many: bool, count: int) -> list[str]:
    """One address that calls again and again, or many."""
    return [
        f"127.0.{1 + i // 250}.{1 + i % 250}" if many else "127.0.1.1"
        for i in range(count)
    ]


async def call(at: Address, by: str, calls: AsyncExitStack) -> None:
    """A call from one of this machine's addresses."""
    sock = trio.socket.socket()
    await calls.enter_async_context(trio.SocketStream(sock))
    await sock.bind((by, 0))
    await sock.connect(at)


@pytest.mark.parametrize("many", [False, True])
async def test_a_members_call_is_served_in_the_turn_that_finds_it_before_strangers(
    many: bool, mock_clock: trio.testing.MockClock
) -> None:
    """Time stands still unless told: before its turn nobody waits for any to pass."""
    door = Door()
    room = HALF_OPEN_MAX if many else HALF_OPEN_PER_ADDRESS_MAX
    (listener,) = await open_listeners([("127.0.0.1", 0)])
    at = listener.socket.getsockname()
    async with AsyncExitStack() as calls, trio.open_nursery() as nursery:
        for by in [*strangers(many, 500), MEMBER]:
            await call(at, by, calls)
        gate = door.gate
        nursery.start_soon(
            take_calls, listener, nursery, gate.is_members, gate.let_in, door.serve
        )
        await door.until_served(MEMBER, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert len(door.served) == room + 1

        for by in [*strangers(many, 300), MEMBER]:
            await call(at, by, calls)
        await trio.testing.wait_all_tasks_blocked()
        assert door.served.count(MEMBER) == 1  # so many were refused: a breath
        mock_clock.jump(0.05)
        await door.until_served(MEMBER, 2)
        assert len(door.served) == room + 2
        assert gate.half_open == room + 2
        nursery.cancel_scope.cancel()
    assert gate.half_open == 0


async def test_calls_in_one_turn_are_counted_one_by_one() -> None:
    door = Door()
    (listener,) = await open_listeners([("127.0.0.1", 0)])
    at = listener.socket.getsockname()
    async with AsyncExitStack() as calls, trio.open_nursery() as nursery:
        for _ in range(HALF_OPEN_PER_ADDRESS_MAX + 20):
            await call(at, MEMBER, calls)
        await call(at, "127.0.0.8", calls)
        gate = door.gate
        nursery.start_soon(
            take_calls, listener, nursery, gate.is_members, gate.let_in, door.serve
        )
        await door.until_served("127.0.0.8", 1)
        await trio.testing.wait_all_tasks_blocked()
        assert door.served.count(MEMBER) == HALF_OPEN_PER_ADDRESS_MAX
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "code",
    [
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
        errno.ETIMEDOUT,
        getattr(errno, "ENONET", errno.EPROTO),
    ],
    ids=errno.errorcode.get,
)
async def test_what_befalls_one_call_costs_no_other(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """accept(2) hands on what a call met in the network, and a filter's refusal."""
    accept, asked = socket.socket.accept, 0

    def fails_second(sock: socket.socket) -> tuple[socket.socket, object]:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise OSError(code, os.strerror(code))
        return accept(sock)

    door = Door()
    (listener,) = await open_listeners([("127.0.0.1", 0)])
    at = listener.socket.getsockname()
    async with AsyncExitStack() as calls, trio.open_nursery() as nursery:
        for _ in range(3):
            await call(at, MEMBER, calls)
        monkeypatch.setattr(socket.socket, "accept", fails_second)
        gate = door.gate
        nursery.start_soon(
            take_calls, listener, nursery, gate.is_members, gate.let_in, door.serve
        )
        await door.until_served(MEMBER, 3)
        monkeypatch.undo()
        await call(at, MEMBER, calls)
        await door.until_served(MEMBER, 4)
        nursery.cancel_scope.cancel()


async def test_a_listener_of_which_every_call_fails_takes_a_breath_now_and_then(
    monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    asked = 0

    def fails(_sock: socket.socket) -> tuple[socket.socket, object]:
        nonlocal asked
        asked += 1
        raise PermissionError(errno.EPERM, "filtered")

    door = Door()
    (listener,) = await open_listeners([("127.0.0.1", 0)])
    at = listener.socket.getsockname()
    async with AsyncExitStack() as calls, trio.open_nursery() as nursery:
        await call(at, MEMBER, calls)
        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "accept", fails)
            gate = door.gate
            nursery.start_soon(
                take_calls, listener, nursery, gate.is_members, gate.let_in, door.serve
            )
            while not asked:
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            assert asked <= 64
        mock_clock.jump(0.05)
        await door.until_served(MEMBER, 1)
        nursery.cancel_scope.cancel()


def test_where_a_member_was_met_is_a_members_address_until_it_is_met_elsewhere() -> (
    None
):
    gate, who = Door().gate, newborn().node
    assert not gate.is_members("192.0.2.7")
    gate.meet(who, "192.0.2.7")
    assert gate.is_members("192.0.2.7")
    gate.meet(who, "192.0.2.8")
    assert not gate.is_members("192.0.2.7")
    assert gate.is_members(MEMBER)
