"""What a wrap finds when its daemon is gone: nothing lost, nothing named that is done."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import PeerError
from node.proxy import limits
from node.proxy.handing import can_be_handed, take_over_untrusted
from node.proxy.journal import TO_CLIENT, TO_SERVER, Journal, Left, read_journal
from node.proxy.lines import LineSplitter
from node.proxy.raw import READ_BYTES


def request(key: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": key, "method": "ping"}).encode()


def answer(key: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": key, "result": {}}).encode()


@contextmanager
def journals() -> Iterator[tuple[Journal, "Reader"]]:
    journal, fd = Journal.make()
    yield journal, Reader(fd)


class Reader:
    """A wrap's view, at any time."""

    def __init__(self, fd: int) -> None:
        self._left = read_journal(fd)

    def left(self) -> Left:
        return self._left()

    def keys(self) -> list[object]:
        return [value for _, value in self.left().keys]


def read(journal: Journal, data: bytes) -> None:
    """The client said this, all at once."""

    def into(room: memoryview) -> int:
        room[: len(data)] = data
        return len(data)

    journal.settle()
    assert journal.read(into) == data


def test_a_call_waits_from_when_it_is_read_until_it_is_answered() -> None:
    with journals() as (journal, wrap):
        read(journal, request(1) + b"\n" + request("1") + b"\n")
        assert wrap.keys() == [1, "1"]
        journal.asked(request(1))
        assert set(wrap.keys()) == {1, "1"}
        journal.asked(request("1"))
        journal.told(answer(1))
        assert wrap.keys() == ["1"]
        journal.settle()
        assert wrap.keys() == ["1"]
        journal.told(answer("1"))
        journal.settle()
        assert wrap.keys() == []


def test_an_answer_may_come_before_its_call_is_noted() -> None:
    with journals() as (journal, wrap):
        read(journal, request(7) + b"\n")
        journal.told(answer(7))
        journal.asked(request(7))
        assert wrap.keys() == []
        read(journal, request(7) + b"\n")  # and an id may come again
        journal.asked(request(7))
        journal.settle()
        assert wrap.keys() == [7]


def test_answers_and_notifications_of_the_client_wait_for_nothing() -> None:
    with journals() as (journal, wrap):
        for said in (answer(1), b'{"jsonrpc":"2.0","method":"notifications/x"}', b"{"):
            read(journal, said + b"\n")
            assert wrap.keys() == []
            journal.asked(said)
            journal.settle()
            assert wrap.keys() == []


def test_each_request_of_a_batch_waits() -> None:
    with journals() as (journal, wrap):
        read(journal, b"[%b,%b,1,%b]\n" % (request(1), request(2), answer(3)))
        assert wrap.keys() == [1, 2]


def test_half_a_message_is_marked_on_its_side() -> None:
    with journals() as (journal, wrap):
        journal.take_up(b"", batches=True)
        journal.tears(TO_SERVER, torn=True)
        left = wrap.left()
        assert (left.torn_client, left.torn_server) == (False, True)
        assert left.batches
        assert left.begun
        journal.tears(TO_CLIENT, torn=True)
        journal.tears(TO_SERVER, torn=False)
        left = wrap.left()
        assert (left.torn_client, left.torn_server) == (True, False)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 60), st.integers(1, 50)),
        max_size=20,
    )
)
def test_however_it_is_cut_what_has_no_end_is_left(
    said: list[tuple[int, int, int]],
) -> None:
    stream = b"".join(request(key) + b" " * pad + b"\n" for key, pad, _ in said)
    sizes = [size for *_, size in said]
    splitter, at = LineSplitter(limits.MESSAGE_BYTES_MAX), 0
    with journals() as (journal, wrap):
        for size in sizes:
            part = stream[at : at + size]
            at += size
            if part:
                read(journal, part)
                for line in splitter.feed(part):
                    assert line is not None
                    journal.asked(line)
                    journal.told(answer(json.loads(line)["id"]))
        journal.settle()
        left = wrap.left()
        assert left.keys == ()
        assert left.rest == stream[:at].rpartition(b"\n")[2]


def test_long_lines_are_left_whole_and_cleared_when_they_end() -> None:
    line = request("x" * 100)[:-1] + b', "params": {"a": "%b"}}' % (b"y" * 3_000_000)
    with journals() as (journal, wrap):
        for _ in range(3):
            for at in range(0, len(line), READ_BYTES):
                read(journal, line[at : at + READ_BYTES])
            assert wrap.left().rest == line
            read(journal, b"\n{")
            assert wrap.keys() == ["x" * 100]
            journal.settle()
            assert wrap.left().rest == b"{"
            read(journal, b"}\n")


def test_of_a_line_without_end_nothing_is_kept() -> None:
    with journals() as (journal, wrap):
        for _ in range(2 * limits.MESSAGE_BYTES_MAX // READ_BYTES + 3):
            read(journal, b"z" * READ_BYTES)
        assert len(wrap.left().rest) <= limits.MESSAGE_BYTES_MAX + READ_BYTES
        read(journal, b"\n" + request(1) + b"\n")
        assert wrap.keys() == [1]


@pytest.mark.parametrize("zeros", [b"\0", b"\0\0", b"x\0", b"x\0" * 9_000])
def test_zeros_that_the_client_says_hide_nothing_that_follows(zeros: bytes) -> None:
    with journals() as (journal, wrap):
        read(journal, zeros + b"\n" + request(1) + b"\n" + zeros + b'\n{"half')
        assert wrap.keys() == [1]
        assert wrap.left().rest == b'{"half'
        journal.asked(request(1))
        journal.told(answer(1))
        journal.settle()
        assert wrap.keys() == []
        assert wrap.left().rest == b'{"half'
        read(journal, b"\0" + b"\n" + request(2) + b"\n")
        assert wrap.keys() == [2]


def test_more_calls_than_a_session_may_have_end_it() -> None:
    with journals() as (journal, _):
        for key in range(limits.PENDING_MAX * 2):
            journal.asked(request(key))
        with pytest.raises(PeerError):
            journal.asked(request("one more"))


def test_a_wrap_cannot_cut_the_memory_that_the_daemon_writes() -> None:
    journal, fd = Journal.make()
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(fd, 0)
    read_journal(fd)
    journal.tears(TO_CLIENT, torn=True)


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "short").open("w+b") as file, pytest.raises(PeerError):
        read_journal(os.dup(file.fileno()))


def test_nobody_makes_the_daemon_wait_in_the_kernel() -> None:
    reads, writes = os.pipe()
    again = [os.dup(fd) for fd in (reads, writes, reads, writes)]
    ours = take_over_untrusted(again)
    os.set_blocking(ours[0], False)
    os.set_blocking(reads, True)  # the wrap's own end, and flags
    assert not os.get_blocking(ours[0])
    for fd in (reads, writes, *ours):
        os.close(fd)


def test_files_and_sockets_of_datagrams_are_not_taken_over(tmp_path: Path) -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with (tmp_path / "file").open("w+b") as file, left, right:
        for fd in (file.fileno(), left.fileno()):
            assert not can_be_handed(fd, os.O_RDONLY)
            reads, writes = os.pipe()
            given = [reads, writes, os.dup(fd), os.dup(writes)]
            with pytest.raises(PeerError):
                take_over_untrusted(given)
            for closed in given:
                with pytest.raises(OSError, match="Bad file"):
                    os.fstat(closed)


AS_ROOT_AND_NOT = """
import os
from node.proxy.handing import take_over_untrusted
from gossip.errors import PeerError
reads, writes = os.pipe()
ours = [os.dup(fd) for fd in (reads, writes, reads, writes)]
os.setresuid(65534, 65534, 65534)
again = take_over_untrusted(ours)
os.write(again[1], b"root's")
assert os.read(again[2], 9) == b"root's"
mine = os.pipe()
os.fchmod(mine[0], 0)
try:
    take_over_untrusted([os.dup(fd) for fd in (*mine, *mine)])
except PeerError:
    print("refused")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_pipes_of_root_are_taken_and_own_pipes_that_were_closed_to_us_are_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_ROOT_AND_NOT],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "refused\n"
