"""Bytes in and out of sockets and pipes, with no hop that is not needed.

trio's own streams checkpoint on each send and wrap each receive; between an
agent and its tool that is most of what a guard would cost. A `Wire` reads
after one wait and writes at once whatever the kernel takes.
"""

import contextlib
import errno
import os
import select
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import trio

READ_BYTES = 65_536
_NO_DESCRIPTORS_S = 0.05
_NOT_POLLABLE = (errno.EPERM, errno.EINVAL)  # regular files and /dev/null


class Wire:
    """One or two file descriptors as a two-way byte stream.

    Owns what it is given: `close` closes it. Several tasks may send (each
    message stays in one piece); one task receives.
    """

    def __init__(self, read_fd: int | None, write_fd: int | None) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._write: Callable[[int, bytes | memoryview], int] = os.write
        self._turn = trio.Lock()
        self._torn = False
        self._poll: select.poll | None = None
        for fd in {read_fd, write_fd} - {None}:
            assert fd is not None
            os.set_blocking(fd, False)

    async def receive_some(self, size_max: int = READ_BYTES) -> bytes:
        """The next bytes; ``b""`` when the other side has ended.

        Raises:
            trio.ClosedResourceError: closed here, perhaps meanwhile.
        """
        while True:
            fd = self._read_fd
            if fd is None:
                raise trio.ClosedResourceError
            try:
                await trio.lowlevel.wait_readable(fd)
            except OSError as refused:
                await _ready_at_once(refused)
            if self._read_fd is None:
                raise trio.ClosedResourceError
            try:
                return os.read(fd, size_max)
            except BlockingIOError:
                continue
            except OSError:
                return b""

    async def send_all(self, data: bytes) -> None:
        """Send everything; checkpoints only when the kernel's buffer is full.

        Raises:
            trio.BrokenResourceError: the other side is gone, or an earlier send
                was cancelled half-way.
            trio.ClosedResourceError: closed here, perhaps meanwhile.
        """
        sent = self.send_now(data)
        if sent == len(data):
            return
        if self._turn.locked():
            await self._turn.acquire()
        else:
            self._turn.acquire_nowait()
        try:
            await self._send(data, sent)
        finally:
            self._turn.release()

    async def _send(self, data: bytes, sent: int) -> None:
        rest = memoryview(data)[sent:]
        if self._torn:
            raise trio.BrokenResourceError("an earlier message was cut")
        while rest:
            if self._write_fd is None:
                raise trio.ClosedResourceError
            try:
                rest = rest[self._write(self._write_fd, rest) :]
            except BlockingIOError:
                self._torn = len(rest) != len(data)
                await trio.lowlevel.wait_writable(self._write_fd)
                self._torn = False
            except OSError as broken:
                raise trio.BrokenResourceError from broken

    def send_now(self, data: bytes) -> int:
        """Send what the kernel takes at once; returns how many bytes that was."""
        if self._write_fd is None or self._turn.locked() or self._torn:
            return 0
        try:
            return self._write(self._write_fd, data)
        except OSError:
            return 0

    def has_news(self) -> bool:
        """Whether bytes, or the end, wait to be received."""
        if self._read_fd is None:
            return True
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._read_fd, select.POLLIN)
        return bool(self._poll.poll(0))

    def fds(self) -> tuple[int, int]:
        """Where it reads and where it writes, to hand them over; still its own."""
        if self._read_fd is None or self._write_fd is None:
            raise trio.ClosedResourceError
        return self._read_fd, self._write_fd

    def close_write(self) -> None:
        """Say that nothing follows; reading goes on."""
        fd, self._write_fd = self._write_fd, None
        if fd is not None and fd != self._read_fd:
            _close(fd)

    def close(self) -> None:
        """Close both ways; whoever waits gets ``trio.ClosedResourceError``."""
        read_fd, self._read_fd = self._read_fd, None
        write_fd, self._write_fd = self._write_fd, None
        for fd in {read_fd, write_fd} - {None}:
            assert fd is not None
            _close(fd)

    async def aclose(self) -> None:
        """`close`, for where trio's streams are expected."""
        self.close()
        await trio.lowlevel.checkpoint()


class SocketWire(Wire):
    """A connected socket as a `Wire`; `close_write` is a shutdown."""

    def __init__(self, sock: socket.socket) -> None:
        self.address = address_of(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fd = sock.detach()
        super().__init__(self._fd, self._fd)

    def close_write(self) -> None:
        """Say that nothing follows; reading goes on."""
        if self._write_fd is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=self._fd) as sock:
                try:
                    sock.shutdown(socket.SHUT_WR)
                finally:
                    sock.detach()
        self._write_fd = None


def address_of(sock: socket.socket) -> str:
    """Where the other side is, without its port; empty if it has gone."""
    try:
        name: object = sock.getpeername()
    except OSError:
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""


class Closable(Protocol):
    """What a connection becomes: a `SocketWire`, or one with TLS on it."""

    def close(self) -> None:
        """Close it at once."""
        ...


W = TypeVar("W", bound=Closable)


async def serve_wires(
    sock: socket.socket,
    most: int,
    serve: Callable[[W], Awaitable[None]],
    make: Callable[[socket.socket], W],
) -> None:
    """Accept until cancelled, ``most`` at once; who comes then is turned away.

    Owns ``sock``. ``serve`` raises nothing; its wire, which ``make`` makes of the
    connection, is closed when it returns.
    """
    listener = trio.socket.from_stdlib_socket(sock)
    room = trio.CapacityLimiter(most)

    async def serve_one(wire: W) -> None:
        try:
            await serve(wire)
        finally:
            wire.close()
            room.release_on_behalf_of(wire)

    with listener:
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    accepted, _ = await listener.accept()
                except OSError:
                    await trio.sleep(_NO_DESCRIPTORS_S)
                    continue
                wire = make(socket.socket(fileno=accepted.detach()))
                try:
                    room.acquire_on_behalf_of_nowait(wire)
                except trio.WouldBlock:
                    wire.close()
                    continue
                nursery.start_soon(serve_one, wire)


def wire_of_stdio() -> Wire:
    """This process's own stdin and stdout."""
    return Wire(os.dup(0), os.dup(1))


async def _ready_at_once(refused: OSError) -> None:
    """What cannot be waited for is ready; raises any other refusal."""
    if refused.errno not in _NOT_POLLABLE:
        raise refused
    await trio.lowlevel.checkpoint()


def _close(fd: int) -> None:
    trio.lowlevel.notify_closing(fd)
    os.close(fd)
