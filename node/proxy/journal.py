"""What a wrap must know once its daemon is gone: which calls wait, what was half said.

::

    0          8              slots                    the client's bytes
    │ flags    │ state id │ state id │ ...             │ 00 00 {"jsonrpc" ... 00 00
                 asked, not answered yet                 read, not dealt with yet

Memory that both share. The daemon makes and writes it, with no system call: each
mark is one byte, set after what it stands for, so a daemon that dies between any two
instructions leaves something true behind. The wrap reads it once nobody writes.
"""

import fcntl
import json
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Final, Self

import attrs

from gossip.errors import PeerError
from node.proxy import limits
from node.proxy.peek import Key, Kind, peek
from node.proxy.raw import READ_BYTES

TO_CLIENT: Final = 0
TO_SERVER: Final = 1
_BATCHES: Final = 2
_BEGUN: Final = 3
_SLOTS_AT: Final = 8
_SLOTS: Final = limits.PENDING_MAX * 2
_ID_BYTES_MAX: Final = 1_024
_SLOT_BYTES: Final = 4 + _ID_BYTES_MAX
_FREE, _WAITS, _ANSWERED = 0, 1, 2
_SAID_AT: Final = -(-(_SLOTS_AT + _SLOTS * _SLOT_BYTES) // 4_096) * 4_096
_SAID_BYTES: Final = limits.MESSAGE_BYTES_MAX + 2 * READ_BYTES
_SIZE: Final = _SAID_AT + _SAID_BYTES
_LARGE: Final = 131_072
"""So much memory is given back rather than cleared."""


@attrs.frozen
class Left:
    """What a daemon left behind.

    Attributes:
        keys: Of calls that got no answer.
        rest: The client's bytes that make no whole line yet.
        torn_client: Perhaps half a message was said to the client.
        torn_server: Perhaps half a message was said to the server.
        batches: The session has a revision that knows batches.
        begun: It had taken over at all.
    """

    keys: tuple[Key, ...]
    rest: bytes = attrs.field(repr=False)
    torn_client: bool
    torn_server: bool
    batches: bool
    begun: bool


class Journal:
    """The daemon's hand in the shared memory of one wrap."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._said = memoryview(memory)[_SAID_AT:]
        self._slots: dict[Key, int] = {}
        self._free = [*range(_SLOTS - 1, -1, -1)]
        self._answered: dict[Key, None] = {}
        self._begin = self._end = self._line = 0

    @classmethod
    def make(cls) -> tuple[Self, int]:
        """A fresh one, and the descriptor that the wrap gets; close it then."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("picket-wrap", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(fd, _SIZE)  # and no wrap cuts it: to touch it would kill us
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        else:
            with tempfile.TemporaryFile() as file:
                file.truncate(_SIZE)
                fd = os.dup(file.fileno())
        return cls(mmap.mmap(fd, _SIZE)), fd

    def take_up(self, rest: bytes, *, batches: bool) -> None:
        """Begin with what an earlier daemon, or none, left of the client's bytes."""
        rest = rest[: limits.MESSAGE_BYTES_MAX]
        self._memory[_SAID_AT : _SAID_AT + len(rest)] = rest
        self._end, self._line = len(rest), 0
        self._memory[_BATCHES] = batches
        self._memory[_BEGUN] = True

    def read(self, read: Callable[[memoryview], int]) -> bytes:
        """What comes next from the client; all before it has been dealt with.

        ``read`` puts it straight into the memory, so it never is in one place only.
        """
        room = self._said[self._end : self._end + READ_BYTES]
        count = read(room)
        data = bytes(room[:count])
        ended = data.rfind(b"\n")
        if ended >= 0:
            self._line = self._end + ended + 1
        self._end += count
        return data

    def settle(self) -> None:
        """All whole lines that were read have been dealt with: forget them."""
        if self._line > self._begin:
            self._clear(self._begin, self._line)
            self._begin = self._line
        if self._begin == self._end:
            self._begin = self._end = self._line = 0
        elif self._end + READ_BYTES > _SAID_BYTES:
            self._shift()
        self._forget_answered()

    def _forget_answered(self) -> None:
        for key in self._answered:
            slot = self._slots.pop(key, None)
            if slot is not None:
                self._set(slot, _FREE)
                self._free.append(slot)
        self._answered.clear()

    def _clear(self, begin: int, end: int) -> None:
        if end - begin > _LARGE and hasattr(mmap, "MADV_REMOVE"):
            pages = mmap.PAGESIZE
            first, last = -(-begin // pages) * pages, end // pages * pages
            self._memory.madvise(mmap.MADV_REMOVE, _SAID_AT + first, last - first)
            self._memory[_SAID_AT + begin : _SAID_AT + first] = bytes(first - begin)
            begin = last
        self._memory[_SAID_AT + begin : _SAID_AT + end] = bytes(end - begin)

    def _shift(self) -> None:
        """Make room behind half a line; of one that is too long nothing is kept."""
        at, size = _SAID_AT + self._begin, self._end - self._begin
        half = self._memory[at : at + size]
        self._clear(self._begin, self._end)
        self._begin = self._end = self._line = 0
        if size + READ_BYTES <= _SAID_BYTES:
            self._memory[_SAID_AT : _SAID_AT + size] = half
            self._end = size

    def asked(self, data: bytes) -> None:
        """A message of the client was dealt with; a request among them now waits."""
        seen = peek(data)
        if seen.kind is Kind.REQUEST and seen.key is not None:
            if seen.key not in self._slots:  # or it has been answered meanwhile
                self._mark(seen.key, _WAITS)
            elif seen.key not in self._answered:
                self._set(self._slots[seen.key], _WAITS)

    def told(self, data: bytes) -> None:
        """The client was told this; an answer closes its call."""
        seen = peek(data)
        if seen.kind is not Kind.RESPONSE or seen.key is None:
            return
        slot = self._slots.get(seen.key)
        if slot is None:
            self._mark(seen.key, _ANSWERED)
        else:
            self._set(slot, _ANSWERED)
        self._answered[seen.key] = None

    def _mark(self, key: Key, state: int) -> None:
        value = key[1]
        named = (str(value) if key[0] is int else json.dumps(value)).encode()
        if len(named) > _ID_BYTES_MAX:
            return  # the gate has refused it: no id is that long
        if not self._free:
            self._forget_answered()
        if not self._free:
            raise PeerError("more calls than a session may have")
        slot = self._slots[key] = self._free.pop()
        at = _SLOTS_AT + slot * _SLOT_BYTES
        self._memory[at + 2 : at + 4] = len(named).to_bytes(2, "big")
        self._memory[at + 4 : at + 4 + len(named)] = named
        self._memory[at] = state

    def _set(self, slot: int, state: int) -> None:
        self._memory[_SLOTS_AT + slot * _SLOT_BYTES] = state

    def tears(self, where: int, *, torn: bool) -> bool:
        """Half a message may have gone to `TO_CLIENT` or `TO_SERVER`; was that so?"""
        was = self._memory[where]
        self._memory[where] = torn
        return bool(was)

    def knows_batches(self) -> None:
        """The session's revision is one with batches."""
        self._memory[_BATCHES] = True


def read_journal(fd: int) -> Callable[[], Left]:
    """Map a daemon's journal; what is returned reads it, later. Closes ``fd``.

    Raises:
        PeerError: it is no journal.
    """
    try:
        memory = mmap.mmap(fd, _SIZE, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as wrong:
        raise PeerError("the daemon's journal cannot be read") from wrong
    finally:
        os.close(fd)
    return lambda: _read(memory)


def _read(memory: mmap.mmap) -> Left:
    # All around is cleared; zeros between are the client's, and end nothing.
    said = memory[_SAID_AT:].strip(b"\0")
    *lines, rest = said.split(b"\n")
    keys: dict[Key, None] = {}
    answered: set[Key] = set()
    for state, key in _slots(memory):
        if state == _WAITS:
            keys[key] = None
        else:
            answered.add(key)
    for line in lines:
        for key in _requests(line):
            if key not in answered:
                keys[key] = None
    torn_client, torn_server, batches, begun = (bool(flag) for flag in memory[:4])
    return Left(tuple(keys), rest, torn_client, torn_server, batches, begun)


def _slots(memory: mmap.mmap) -> Iterator[tuple[int, Key]]:
    for slot in range(_SLOTS):
        at = _SLOTS_AT + slot * _SLOT_BYTES
        if memory[at] != _FREE:
            size = int.from_bytes(memory[at + 2 : at + 4], "big")
            value = json.loads(memory[at + 4 : at + 4 + size])
            yield memory[at], (type(value), value)


def _requests(line: bytes) -> Iterator[Key]:
    """The ids of the requests in a line, which may hold a batch of them."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return
    for part in value if isinstance(value, list) else [value]:
        seen = peek(json.dumps(part).encode())
        if seen.kind is Kind.REQUEST and seen.key is not None:
            yield seen.key
