"""The control socket: how commands ask the running daemon; docs/reference/control.md.

One JSON object a line, both ways, over a Unix socket that only this user may
open::

    {"v":1,"id":7,"do":"status","args":{}}
    {"v":1,"id":7,"ok":{…}}                    or several with "more":true before it
    {"v":1,"id":7,"error":{"sentence":"…"}}

Commands live in one table. Whoever adds one adds a line to it.
"""

import json
import os
import socket
import stat
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
)
from pathlib import Path
from typing import Final, TypeAlias, cast

import attrs
import trio

from gossip.errors import PeerError, UserError
from node.jsonlines import VERSION, Json, read_line_untrusted

REQUEST_BYTES_MAX: Final = 262_144
CONNECTIONS_MAX: Final = 64
_SOCKET_PATH_MAX: Final = 107

Args: TypeAlias = Mapping[str, Json]
Answer: TypeAlias = Json | AsyncIterator[Json] | Awaitable[Json]
Command: TypeAlias = Callable[[Args], Answer]


@attrs.define
class Control:
    """Answers the commands of a table on a Unix socket."""

    commands: Mapping[str, Command]
    on_fault: Callable[[BaseException], None]
    _limit: trio.CapacityLimiter = attrs.field(
        init=False, factory=lambda: trio.CapacityLimiter(CONNECTIONS_MAX)
    )

    async def serve(self, listener: socket.socket) -> None:
        """Answer on what `bind_unix` bound until cancelled. Owns ``listener``."""
        listening = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        await trio.serve_listeners(self._serve, [listening])

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            async with stream, self._limit:
                await self._answer_all(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except* Exception as fault:  # one command must not end the daemon
            self.on_fault(fault)

    async def _answer_all(self, stream: trio.SocketStream) -> None:
        waiting = b""
        async for chunk in stream:
            *lines, waiting = (waiting + chunk).split(b"\n")
            for line in lines:
                await self._answer(stream, line)
            if len(waiting) > REQUEST_BYTES_MAX:
                await stream.send_all(_error(0, "the request is too long"))
                return

    async def _answer(self, stream: trio.SocketStream, line: bytes) -> None:
        number = 0
        try:
            request = read_line_untrusted(line)
            given = request.get("id")
            number = given if type(given) is int else 0
            version = request.get("v")
            if type(version) is not int or version != VERSION:
                raise PeerError(f"this daemon speaks control protocol {VERSION}")
            args = request.get("args", {})
            command = self.commands.get(str(request.get("do")))
            if command is None or not isinstance(args, dict):
                known = ", ".join(sorted(self.commands))
                raise PeerError(f"no such command; known are {known}")
            answer = command(args)
            if isinstance(answer, AsyncIterator):
                await _send_parts(stream, number, answer)
                answer = None
            elif isinstance(answer, Awaitable):
                answer = await answer
            await stream.send_all(_line(number, "ok", answer))
        except (PeerError, UserError) as wrong:
            await stream.send_all(_error(number, str(wrong)))


async def _send_parts(
    stream: trio.SocketStream, number: int, parts: AsyncIterator[Json]
) -> None:
    try:
        async for part in parts:
            await stream.send_all(_line(number, "ok", part, more=True))
    finally:
        if isinstance(parts, AsyncGenerator):
            await parts.aclose()


def bind_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket (0600), taking the place of a dead one.

    Raises:
        UserError: somebody answers there already, or the path cannot be bound.
    """
    if len(os.fsencode(path)) > _SOCKET_PATH_MAX:
        raise UserError(
            f"{path}: too long for a Unix socket ({_SOCKET_PATH_MAX} bytes); choose a"
            " shorter `state` folder"
        )
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            if _alive(path):
                raise UserError(f"{path}: a daemon runs here already")
            path.unlink()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            before = os.umask(0o177)
            try:
                sock.bind(os.fspath(path))
            finally:
                os.umask(before)
            sock.listen(CONNECTIONS_MAX)
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
    except OSError as wrong:
        raise UserError(f"{path}: cannot listen here: {wrong.strerror}") from None
    return sock


def _alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
        return True


def text_arg(args: Args, key: str, default: str | None = None) -> str:
    """A string argument.

    Raises:
        PeerError: missing, not a string, or too long.
    """
    value = args.get(key, default)
    if not isinstance(value, str) or len(value) > REQUEST_BYTES_MAX:
        raise PeerError(f"argument `{key}` must be a string")
    return value


def int_arg(args: Args, key: str, default: int, low: int, high: int) -> int:
    """An integer argument in ``low..high``.

    Raises:
        PeerError: anything else.
    """
    value = args.get(key, default)
    if type(value) is not int or not low <= value <= high:
        raise PeerError(f"argument `{key}` must be a whole number, {low} to {high}")
    return value


def _line(number: int, key: str, value: Json, *, more: bool = False) -> bytes:
    answer: dict[str, Json] = {"v": VERSION, "id": number, key: value}
    if more:
        answer["more"] = True
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


def _error(number: int, sentence: str) -> bytes:
    return _line(number, "error", cast("Json", {"sentence": sentence}))
