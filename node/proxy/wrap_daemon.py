"""The wrap's guard when the daemon has the gate: frames over its Unix socket."""

import random
import socket
from collections import OrderedDict, deque
from pathlib import Path

import trio

from enforcement.mcp.jsonrpc import Reason, write_denial
from gossip.errors import PeerError
from node.log import Log
from node.proxy import limits
from node.proxy.frames import FrameStream
from node.proxy.peek import Key, Kind, peek
from node.proxy.raw import SocketWire
from node.proxy.wrap import Outlet, ToClient
from node.proxy.wrapping import WrapFrame, encode_hello

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
_RETRY_S = 0.1
_RETRY_S_MAX = 2.0
_REMEMBERED_MAX = 4_096


class DaemonGuard:
    """Asks the daemon; denies everything while there is none."""

    def __init__(
        self,
        path: Path,
        agent: str,
        server: str,
        outlet: Outlet,
        to_client: ToClient,
        log: Log,
    ) -> None:
        self._path = path
        self._hello = encode_hello(agent, server)
        self._outlet = outlet
        self._to_client = to_client
        self._log = log
        self._frames: FrameStream | None = None
        self._why = f"no Picket daemon answers at {path}"
        self._tried = trio.Event()
        self._drained = trio.Event()
        self._client_ended = False
        self.refused = False
        self._unread: deque[bytes] = deque()
        self._waiting: OrderedDict[Key, None] = OrderedDict()
        self._denied: OrderedDict[Key, None] = OrderedDict()

    async def run(self) -> None:
        """Keep a session with the daemon, for as long as the wrap lives."""
        retry_s = _RETRY_S
        while True:
            frames = await self._connect()
            self._tried.set()
            if frames is not None:
                retry_s = _RETRY_S
                await self._serve(frames)
            await trio.sleep(retry_s * random.uniform(0.5, 1))  # noqa: S311 - spreads load
            retry_s = min(retry_s * 2, _RETRY_S_MAX)

    async def client_said(self, data: bytes) -> None:
        """Pass a message to the gate, or deny it."""
        if not self._tried.is_set():  # an event that is set costs a turn of the loop
            await self._tried.wait()
        if self._frames is None:
            seen = peek(data)
            if seen.kind is Kind.REQUEST:
                await self._deny(seen.key)
            return
        self._unread.append(data)
        await self._send(WrapFrame.FROM_CLIENT, data)
        self._read_sent()

    def _read_sent(self) -> None:
        """Note which answers are awaited: while others work on what was sent."""
        while self._unread:
            seen = peek(self._unread.popleft())
            if seen.key is not None and seen.kind is Kind.REQUEST:
                _remember(self._waiting, seen.key)
                self._denied.pop(seen.key, None)

    async def client_ended(self) -> None:
        """Let the child's stdin end, behind what is on its way."""
        await self._tried.wait()
        self._client_ended = True
        if self._frames is None or not await self._send(WrapFrame.CLIENT_ENDED, b""):
            self._outlet.end()

    async def server_said(self, data: bytes) -> None:
        """Pass a message to the gate; without one it goes nowhere."""
        if not self._tried.is_set():
            await self._tried.wait()
        if self._denied:
            self._read_sent()
            seen = peek(data)
            if (
                seen.kind is Kind.RESPONSE
                and seen.key is not None
                and seen.key in self._denied
            ):
                self._denied.pop(seen.key)  # its call was denied meanwhile
                return
        if self._frames is not None:
            await self._send(WrapFrame.FROM_SERVER, data)

    async def server_ended(self) -> None:
        """Wait until the client has all that the child said."""
        await self._tried.wait()
        if self._frames is not None and await self._send(WrapFrame.SERVER_ENDED, b""):
            await self._drained.wait()

    async def _connect(self) -> FrameStream | None:
        try:
            stream = await trio.open_unix_socket(str(self._path))
        except OSError:
            self._why = f"no Picket daemon answers at {self._path}"
            return None
        wire = SocketWire(socket.socket(fileno=stream.socket.detach()))
        frames, answer = FrameStream(wire), None
        try:
            with trio.move_on_after(limits.OPENING_S):
                await frames.send(WrapFrame.HELLO, self._hello)
                answer = await frames.receive_untrusted()
        except (*_GONE, PeerError):
            answer = None
        if answer is not None and answer[0] == WrapFrame.WELCOME:
            self._frames = frames
            self.refused = False
            return frames
        wire.close()
        if answer is not None and answer[0] == WrapFrame.REFUSED:
            why = answer[1].decode("utf-8", "replace")
            self.refused = True
            if why != self._why:
                self._log.warn(why)
            self._why = why
        return None

    async def _serve(self, frames: FrameStream) -> None:
        """Do what the daemon says, until it is gone."""
        try:
            while (frame := await frames.receive_untrusted()) is not None:
                await self._take(*frame)
        except PeerError as wrong:
            self._log.warn(f"the daemon broke the wrap's protocol: {wrong}")
        self._frames = None
        self._why = f"the Picket daemon at {self._path} has ended"
        self._log.warn(f"{self._why}; calls are denied until it is back")
        await frames.aclose()
        self._drained.set()
        if self._client_ended:
            self._outlet.end()
        self._read_sent()
        while self._waiting:
            key, _ = self._waiting.popitem(last=False)
            _remember(self._denied, key)
            await self._deny(key)

    async def _take(self, kind: int, payload: bytes) -> None:
        if kind == WrapFrame.TO_SERVER:
            if not self._outlet.put(payload):
                raise PeerError("the server does not read what it is sent")
        elif kind == WrapFrame.TO_CLIENT:
            await self._to_client(payload)
            self._read_sent()
            seen = peek(payload)
            if seen.kind is Kind.RESPONSE and seen.key is not None:
                self._waiting.pop(seen.key, None)
        elif kind == WrapFrame.SERVER_MAY_END:
            self._outlet.end()
        elif kind == WrapFrame.CLIENT_HAS_ALL:
            self._drained.set()
        else:
            raise PeerError(f"a frame of kind {kind}")

    async def _send(self, kind: WrapFrame, payload: bytes) -> bool:
        assert self._frames is not None
        try:
            await self._frames.send(kind, payload)
        except _GONE:
            return False  # `_serve` notices too, and denies what waits
        return True

    async def _deny(self, key: Key | None) -> None:
        sentence = f"denied, for nobody guards this server now: {self._why}"
        advice = "start the daemon with `picket run`"
        if self.refused:
            advice = "name an agent of this node with --agent, see `picket agent list`"
        await self._to_client(
            write_denial(
                None if key is None else key[1],
                sentence,
                Reason.NO_DAEMON,
                advice=advice,
            )
        )


def _remember(keys: OrderedDict[Key, None], key: Key) -> None:
    keys[key] = None
    if len(keys) > _REMEMBERED_MAX:
        keys.popitem(last=False)
