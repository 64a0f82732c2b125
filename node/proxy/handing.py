"""Descriptors that travel over a Unix socket, and how to use what others still hold.

A wrap hands the daemon its client's pipes and its server's; the daemon hands it a
journal. Both keep what they handed over, and so does whoever made it.
"""

import array
import os
import socket
import stat
import sys
from collections.abc import Sequence
from typing import Final

import trio

from gossip.errors import PeerError
from node.proxy.journal import Journal
from node.proxy.raw import READ_BYTES, SocketWire, Wire

_PASSED_MAX: Final = 4
_CLOEXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class PassingWire(SocketWire):
    """A Unix socket whose bytes may bring descriptors."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._passed: list[int] = []

    def pass_now(self, data: bytes, fds: Sequence[int]) -> bool:
        """Send a few bytes with descriptors, which stay ours too; whether it went."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        with socket.socket(fileno=self._fd) as sock:
            try:
                return sock.sendmsg([data], [rights]) == len(data)
            except OSError:
                return False
            finally:
                sock.detach()

    def take_passed(self, count: int) -> list[int]:
        """The descriptors that have come; now the caller's to close.

        Raises:
            PeerError: not so many.
        """
        if len(self._passed) != count:
            raise PeerError(f"{len(self._passed)} descriptors came, not {count}")
        passed, self._passed = self._passed, []
        return passed

    async def receive_some(self, size_max: int = READ_BYTES) -> bytes:
        """The next bytes; see `Wire.receive_some`. More descriptors than fit end it."""
        while True:
            fd = self._read_fd
            if fd is None:
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(fd)
            if self._read_fd is None:
                raise trio.ClosedResourceError
            with socket.socket(fileno=fd) as sock:
                try:
                    told = socket.recv_fds(sock, size_max, _PASSED_MAX, _CLOEXEC)
                except BlockingIOError:
                    continue
                except OSError:
                    return b""
                finally:
                    sock.detach()
            data, fds, flags, _ = told
            self._passed += fds
            if flags & socket.MSG_CTRUNC or len(self._passed) > _PASSED_MAX:
                return b""
            return data

    def close(self) -> None:
        """Close it, and what came and nobody took."""
        super().close()
        while self._passed:
            os.close(self._passed.pop())


class TakenWire(Wire):
    """Pipes or sockets that a wrap handed over: reads one, writes the other.

    Never waits in the kernel, whatever those do who hold them too. With ``keeps``,
    what is read stands in the journal until it has been dealt with.

    Args:
        where: Which side it is in the journal.
    """

    def __init__(
        self, read_fd: int, write_fd: int, journal: Journal, where: int, *, keeps: bool
    ) -> None:
        super().__init__(read_fd, write_fd)
        self._journal, self._where, self._keeps = journal, where, keeps
        self._source, self._drain = _socket_at(read_fd), _socket_at(write_fd)
        if self._drain is not None:
            drain = self._drain
            self._write = lambda _, data: drain.send(data, socket.MSG_DONTWAIT)

    async def receive_some(self, size_max: int = READ_BYTES) -> bytes:
        """The next bytes; see `Wire.receive_some`."""
        if self._keeps:
            self._journal.settle()
        while True:
            fd = self._read_fd
            if fd is None:
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(fd)
            if self._read_fd is None:
                raise trio.ClosedResourceError
            try:
                if self._keeps:
                    return self._journal.read(self._read_into)
                room = bytearray(size_max)
                return bytes(room[: self._read_into(memoryview(room))])
            except BlockingIOError:
                continue
            except OSError:
                return b""

    def _read_into(self, room: memoryview) -> int:
        if self._source is not None:
            return self._source.recv_into(room, 0, socket.MSG_DONTWAIT)
        assert self._read_fd is not None, "whoever reads has looked"
        return os.readv(self._read_fd, [room])

    def send_now(self, data: bytes) -> int:
        """Send what the kernel takes at once; returns how many bytes that was."""
        torn = self._journal.tears(self._where, torn=True)
        sent = super().send_now(data)
        if sent == len(data) or (sent == 0 and not torn):
            self._journal.tears(self._where, torn=False)
        return sent

    async def _send(self, data: bytes, sent: int) -> None:
        await super()._send(data, sent)
        self._journal.tears(self._where, torn=False)

    def close_write(self) -> None:
        """Say that nothing follows, once the wrap says so too."""
        if self._drain is not None:
            self._drain.detach()
            self._drain = None
        super().close_write()

    def close(self) -> None:
        """Let go of both."""
        for sock in (self._source, self._drain):
            if sock is not None:
                sock.detach()
        self._source = self._drain = None
        super().close()


def take_over_untrusted(fds: Sequence[int]) -> list[int]:
    """Make what a wrap handed over ours to use: to read, to write, to read, to write.

    Its pipes are opened anew, so that nobody else's flags are ours. Closes ``fds``.

    Raises:
        PeerError: something else than pipes and sockets of bytes.
    """
    ours: list[int] = []
    try:
        for fd, flag in zip(fds, (os.O_RDONLY, os.O_WRONLY) * 2, strict=True):
            ours.append(_own(fd, flag))
    except (OSError, PeerError) as wrong:
        for fd in ours:
            os.close(fd)
        raise PeerError("a wrap handed over what is no pipe of its own") from wrong
    finally:
        for fd in fds:
            os.close(fd)
    return ours


def _own(fd: int, flag: int) -> int:
    if is_pipe(fd) and sys.platform == "linux":
        path = f"/proc/self/fd/{fd}"
        try:
            return os.open(path, flag | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:  # made by root, who else may open our socket
            if os.fstat(fd).st_uid == os.geteuid():
                raise
    if not is_pipe(fd) and _socket_kind(fd) != socket.SOCK_STREAM:
        raise PeerError("neither a pipe nor a socket")
    return os.dup(fd)


def is_pipe(fd: int) -> bool:
    """Whether it is a pipe."""
    return stat.S_ISFIFO(os.fstat(fd).st_mode)


def can_be_handed(fd: int, flag: int) -> bool:
    """Whether a daemon of this user can use it; ``flag`` is how it is used."""
    try:
        os.close(_own(fd, flag))
    except (OSError, PeerError):
        return False
    return True


def _socket_kind(fd: int) -> int | None:
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return None
    with socket.socket(fileno=fd) as sock:
        try:
            return sock.type
        finally:
            sock.detach()


def _socket_at(fd: int) -> socket.socket | None:
    return None if _socket_kind(fd) is None else socket.socket(fileno=fd)
