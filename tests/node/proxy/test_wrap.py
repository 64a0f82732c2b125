"""The promises of `picket wrap`, kept by real processes."""

import array
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio

from node.proxy.desk import Desk
from node.proxy.door import WrapDoor, listen_on_path
from node.proxy.frames import encode_frame
from node.proxy.raw import SocketWire, Wire, serve_wires
from node.proxy.stdio import LineChannel
from node.proxy.wrapping import WrapFrame
from tests.support.proxies import ECHO, desk_of, found, open_child_pipes

WRAP = (sys.executable, "-m", "node.cli.main", "wrap")
DEADLINE_S = 20
LISTING = (*ECHO, "die", "pid", "stray")
"""For the tutorial policy, which lets nobody call what is in no list."""
KEYS = range(20)


def call(key: object, tool: str, **arguments: object) -> bytes:
    params = {"name": tool, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": params}
    return json.dumps(message).encode()


@attrs.define
class Client:
    """The client of one wrapped server."""

    process: trio.Process
    lines: LineChannel
    wire: Wire

    async def say(self, data: bytes) -> None:
        await self.lines.send(data)

    async def hear(self) -> dict[str, object]:
        with trio.fail_after(DEADLINE_S):
            line = await self.lines.receive()
        assert line, "the wrap ended"
        heard: dict[str, object] = json.loads(line)
        return heard

    async def ask(self, data: bytes) -> dict[str, object]:
        await self.say(data)
        return await self.hear()

    async def status(self) -> int:
        with trio.fail_after(DEADLINE_S):
            return await self.process.wait()


@asynccontextmanager
async def wrapped(
    *options: str, command: Sequence[str] = ECHO, sockets: bool = False
) -> AsyncIterator[Client]:
    wire, theirs = open_child_sockets() if sockets else open_child_pipes()
    process = await trio.lowlevel.open_process(
        [*WRAP, *options, "--server", "echo", "--", *command],
        stdin=theirs[0],
        stdout=theirs[1],
        stderr=subprocess.DEVNULL,
    )
    for fd in theirs:
        os.close(fd)
    try:
        yield Client(process, LineChannel(wire), wire)
    finally:
        wire.close()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(5):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


def open_child_sockets() -> tuple[Wire, tuple[int, int]]:
    """As `open_child_pipes`, of what some clients use instead."""
    ours_out, theirs_in = socket.socketpair()
    ours_in, theirs_out = socket.socketpair()
    ours = Wire(ours_in.detach(), ours_out.detach())
    return ours, (theirs_in.detach(), theirs_out.detach())


@attrs.define
class Daemon:
    """A daemon's door on a path, opened and shut at will."""

    path: Path
    desk: Desk
    nursery: trio.Nursery
    _scope: trio.CancelScope | None = None
    _ended: trio.Event = attrs.field(factory=trio.Event)

    def start(self) -> None:
        listener = listen_on_path(self.path)
        self._scope = trio.CancelScope()
        self.nursery.start_soon(self._serve, listener, self._scope)

    async def _serve(self, listener: socket.socket, scope: trio.CancelScope) -> None:
        with scope:
            await WrapDoor(self.desk).serve(listener)
        self._ended.set()

    async def kill(self) -> None:
        assert self._scope is not None
        self._scope.cancel()
        await self._ended.wait()


@asynccontextmanager
async def daemon(folder: Path) -> AsyncIterator[Daemon]:
    (folder / "config.toml").write_text('name = "branch"\nlog = "error"\n')
    roster, places = found("branch")
    desk = desk_of(places["branch"], roster)
    async with trio.open_nursery() as nursery:
        yield Daemon(folder / "wrap.sock", desk, nursery)
        nursery.cancel_scope.cancel()


async def test_calls_pass_and_denials_are_answers(tmp_path: Path) -> None:
    async with daemon(tmp_path) as town:
        town.start()
        async with wrapped("-c", str(tmp_path)) as client:
            assert "result" in await client.ask(call(1, "echo", word="hello"))
            denied = await client.ask(call("two", "forbidden"))
            assert denied["error"]["data"]["picket"]["rule"] == "no-such"  # type: ignore[index]  # JSON
            assert "result" in await client.ask(call(3, "echo"))


async def test_what_the_gate_cannot_read_fills_no_journal(tmp_path: Path) -> None:
    async with daemon(tmp_path) as town:
        town.start()
        async with wrapped("-c", str(tmp_path)) as client:
            await client.ask(call(0, "echo"))
            (session,) = town.desk.sessions()
            for start in range(0, 2_100, 100):
                twice = [
                    b'{"id":%d,"id":%d}' % (n, n) for n in range(start, start + 100)
                ]
                bad = b"".join(m[:-1] + b',"method":"ping"}\n' for m in twice)
                await client.wire.send_all(bad)
                for _ in twice:
                    assert "error" in await client.hear()
            assert "result" in await client.ask(call(1, "echo"))
            assert town.desk.sessions() == (session,)


async def test_a_client_may_bring_sockets(tmp_path: Path) -> None:
    async with daemon(tmp_path) as town:
        town.start()
        async with wrapped("-c", str(tmp_path), sockets=True) as client:
            assert "result" in await client.ask(call(1, "echo", text="x" * 500_000))
            await town.kill()
            assert "error" in await client.ask(call(2, "echo"))


async def test_a_daemon_gets_files_by_pipes_of_the_wrap(tmp_path: Path) -> None:
    asked, answered = tmp_path / "asked", tmp_path / "answered"
    asked.write_bytes(b"".join(call(key, "echo") + b"\n" for key in range(20)))
    async with daemon(tmp_path) as town:
        town.start()
        with asked.open("rb") as said, answered.open("wb") as heard:
            done = await trio.run_process(
                [*WRAP, "-c", str(tmp_path), "--server", "echo", "--", *ECHO],
                stdin=said,
                stdout=heard,
                stderr=subprocess.DEVNULL,
            )
    assert done.returncode == 0
    lines = answered.read_bytes().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [*range(20)]


async def test_without_a_daemon_a_call_is_denied_and_the_server_never_sees_it(
    tmp_path: Path,
) -> None:
    async with daemon(tmp_path) as town, wrapped("-c", str(tmp_path)) as client:
        denied = await client.ask(call(1, "die"))
        assert "no Picket daemon answers" in str(denied["error"])

        town.start()
        with trio.fail_after(DEADLINE_S):
            while "error" in await client.ask(call(2, "echo")):
                await trio.lowlevel.checkpoint()


async def test_a_daemon_killed_in_mid_call_denies_it_once_and_comes_back(
    tmp_path: Path,
) -> None:
    async with daemon(tmp_path) as town:
        town.start()
        async with wrapped("-c", str(tmp_path)) as client:
            await client.ask(call(0, "echo"))
            await client.say(call(1, "sleep", seconds=0.7))
            with trio.fail_after(DEADLINE_S):
                while not _pending(town.desk):
                    await trio.lowlevel.checkpoint()
            await town.kill()
            denied = await client.hear()
            assert denied["id"] == 1
            assert "has ended" in str(denied["error"])

            town.start()
            with trio.fail_after(DEADLINE_S):
                while "error" in (last := await client.ask(call(2, "pid"))):
                    assert last["id"] == 2, "the late answer must not appear"
                    await trio.lowlevel.checkpoint()
            assert last["id"] == 2


async def test_what_was_half_said_when_the_daemon_died_is_still_one_message(
    tmp_path: Path,
) -> None:
    async with daemon(tmp_path) as town:
        town.start()
        async with wrapped("-c", str(tmp_path)) as client:
            await client.ask(call(0, "echo"))
            asked = call(1, "echo", text="x" * 100)
            await client.wire.send_all(asked[:60])
            with trio.fail_after(DEADLINE_S):
                while not _unread(client.wire):
                    await trio.lowlevel.checkpoint()
            await town.kill()
            await client.wire.send_all(asked[60:] + b"\n")
            assert (await client.hear())["id"] == 1

            await client.wire.send_all(b'{"jsonrpc":"2.0","id":')
            town.start()
            with trio.fail_after(DEADLINE_S):
                while not town.desk.sessions():
                    await trio.lowlevel.checkpoint()
            await client.wire.send_all(b'2,"method":"ping"}\n')
            assert await client.hear() == {"jsonrpc": "2.0", "id": 2, "result": {}}


def _unread(wire: Wire) -> bool:
    """Whether nothing that was said still stands in the pipe."""
    left = array.array("i", [0])
    fcntl.ioctl(wire.fds()[1], termios.FIONREAD, left)
    return left[0] == 0


async def test_a_session_that_is_ended_here_denies_and_begins_anew(
    tmp_path: Path,
) -> None:
    async with daemon(tmp_path) as town:
        town.start()
        async with wrapped("-c", str(tmp_path)) as client:
            await client.ask(call(0, "echo"))
            await client.say(call(1, "never"))
            with trio.fail_after(DEADLINE_S):
                while not _pending(town.desk):
                    await trio.lowlevel.checkpoint()
            (session,) = town.desk.sessions()
            await session.backend.aclose()
            denied = await client.hear()
            assert denied["id"] == 1
            with trio.fail_after(DEADLINE_S):
                while "error" in await client.ask(call(2, "echo")):
                    await trio.lowlevel.checkpoint()


async def test_a_daemon_that_is_killed_outright_leaves_no_call_without_its_denial(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.toml").write_text('name = "branch"\nlog = "error"\n')
    killed = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.bench._servers", "daemon", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert killed.stdout is not None
    with trio.fail_after(DEADLINE_S):
        await killed.stdout.receive_some()
    mute = (sys.executable, "-c", "import sys\nfor line in sys.stdin: pass")
    async with wrapped("-c", str(tmp_path), command=mute) as client:
        pings = {
            key: b'{"jsonrpc":"2.0","id":%d,"method":"ping"}' % key for key in KEYS
        }
        calls = {key + 100: call(key + 100, "echo", query="x") for key in KEYS}
        asked = {**pings, **calls}
        await client.wire.send_all(b"".join(one + b"\n" for one in asked.values()))
        with trio.fail_after(DEADLINE_S):
            while not _unread(client.wire):
                await trio.lowlevel.checkpoint()
        killed.kill()
        with trio.fail_after(DEADLINE_S):
            denied = [await client.hear() for _ in asked]
        assert {d["id"] for d in denied} == {*asked}
        assert all("has ended" in str(d["error"]) for d in denied)
        assert "error" in await client.ask(call("later", "echo"))
    await killed.wait()
    await killed.stdout.aclose()
    assert killed.stdin is not None
    await killed.stdin.aclose()


def _pending(desk: Desk) -> bool:
    return any(s._gate._pending for s in desk._sessions)  # type: ignore[attr-defined]  # the fake gate


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        encode_frame(99, b""),
        encode_frame(WrapFrame.SERVER_MAY_END, b""),
        encode_frame(WrapFrame.WELCOME, b"") + encode_frame(99, b""),
        encode_frame(WrapFrame.REFUSED, b"go\naway \xff"),
    ],
)
async def test_a_daemon_that_talks_nonsense_is_no_daemon(
    tmp_path: Path, said: bytes
) -> None:
    async def talk(wire: SocketWire) -> None:
        await wire.receive_some()
        with suppress(trio.BrokenResourceError):
            await wire.send_all(said)
        await wire.receive_some()

    (tmp_path / "config.toml").write_text('name = "branch"\nlog = "error"\n')
    listener = listen_on_path(tmp_path / "wrap.sock")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_wires, listener, 9, talk, SocketWire)
        async with wrapped("-c", str(tmp_path)) as client:
            assert "error" in await client.ask(call(1, "die"))
            assert "error" in await client.ask(call(2, "die"))
        nursery.cancel_scope.cancel()


async def test_an_agent_nobody_knows_is_denied_by_name(tmp_path: Path) -> None:
    async with daemon(tmp_path) as town:
        town.start()
        async with wrapped("-c", str(tmp_path), "--agent", "nobody") as client:
            denied = await client.ask(call(1, "echo"))
            assert "no agent `nobody`; it has: branch-bot" in str(denied["error"])
            assert "picket agent list" in str(denied["error"])
        assert client.process.returncode == 1


async def test_two_directions_full_at_once_do_not_dead_lock(tmp_path: Path) -> None:
    async with daemon(tmp_path) as town:
        town.start()
        async with wrapped("-c", str(tmp_path)) as client:
            text = "x" * 1_000_000

            async def say() -> None:
                for key in range(8):
                    await client.say(call(key, "echo", text=text))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(say)
                assert [(await client.hear())["id"] for _ in range(8)] == [*range(8)]


@pytest.mark.parametrize("alone", [True, False])
async def test_the_wrap_ends_as_its_child_ends(tmp_path: Path, alone: bool) -> None:
    async with daemon(tmp_path) as town:
        town.start()
        options = ["--standalone"] if alone else ["-c", str(tmp_path)]
        async with wrapped(*options, command=LISTING) as client:
            answer = await client.ask(call(1, "die"))
            assert "has ended" in str(answer["error"])
            assert await client.status() == 3


async def test_what_was_asked_before_the_end_is_answered_before_the_end() -> None:
    asked = b"".join(call(key, "echo") + b"\n" for key in range(20))
    done = await trio.run_process(
        [*WRAP, "--standalone", "--server", "echo", "--", *ECHO],
        stdin=asked,
        capture_stdout=True,
        stderr=subprocess.DEVNULL,
    )
    assert done.returncode == 0
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a["id"] for a in answers] == [*range(20)]


async def test_stdin_may_be_a_file(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    asked.write_bytes(call(1, "echo") + b"\n")
    with asked.open("rb") as file:
        done = await trio.run_process(
            [*WRAP, "--standalone", "--server", "echo", "--", *ECHO],
            stdin=file,
            capture_stdout=True,
            stderr=subprocess.DEVNULL,
        )
    assert json.loads(done.stdout)["id"] == 1


async def test_signals_reach_the_child_and_end_both() -> None:
    async with wrapped("--standalone", command=LISTING) as client:
        said = await client.ask(call(1, "pid"))
        pid = int(said["result"]["content"][0]["text"])  # type: ignore[index]  # JSON
        client.process.send_signal(signal.SIGTERM)

        assert await client.status() == -signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_wrap_that_is_killed_takes_its_server_with_it() -> None:
    async with wrapped("--standalone", command=LISTING) as client:
        said = await client.ask(call(1, "pid"))
        pid = int(said["result"]["content"][0]["text"])  # type: ignore[index]  # JSON
        client.process.kill()

        with trio.fail_after(DEADLINE_S):
            while _alive(pid):
                await trio.lowlevel.checkpoint()


def _alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        with Path(f"/proc/{pid}/stat").open() as stat:
            return ") Z " not in stat.read()
    except FileNotFoundError:
        return False


async def test_a_line_over_the_limit_is_refused_and_the_session_goes_on() -> None:
    async with wrapped("--standalone") as client:
        refused = await client.ask(b'{"a":"' + b"x" * 4_194_304 + b'"}')
        assert refused["id"] is None
        assert "result" in await client.ask(call(1, "echo"))


@pytest.mark.parametrize("line", [b"\xff\xfe\x00", b"{", b"[1]", b'"x"', b"{}" * 9])
async def test_garbage_is_answered_by_an_error(line: bytes) -> None:
    async with wrapped("--standalone") as client:
        assert "error" in await client.ask(line)
        assert "result" in await client.ask(call(1, "echo"))


async def test_an_answer_nobody_asked_for_goes_nowhere() -> None:
    async with wrapped("--standalone", command=LISTING) as client:
        assert (await client.ask(call(1, "stray")))["id"] == 1
        assert (await client.ask(call(2, "echo")))["id"] == 2


async def test_standalone_never_loads_the_network() -> None:
    code = (
        "import atexit, sys; sys.argv = ['picket'] + sys.argv[1:];"
        "atexit.register(lambda: sys.stderr.write(repr(sorted(sys.modules))));"
        "from node.cli.main import main; main()"
    )
    done = await trio.run_process(
        [sys.executable, "-c", code, *WRAP[3:], "--standalone", "--", *ECHO],
        stdin=call(1, "echo") + b"\n",
        capture_stdout=True,
        capture_stderr=True,
    )
    loaded = done.stderr.decode()
    assert "'node.proxy.wrap'" in loaded
    assert "'libp2p'" not in loaded


async def test_a_command_that_does_not_exist_is_one_sentence() -> None:
    done = await trio.run_process(
        [*WRAP, "--standalone", "--", "/no/such/command"],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert b"cannot start `/no/such/command`" in done.stderr


async def test_standalone_pins_what_the_server_lists_and_holds_calls_to_it() -> None:
    """As the daemon does at first sight: a schema binds, and what is in no list fails."""
    tool = {
        "name": "look",
        "inputSchema": {
            "type": "object",
            "properties": {"host": {"type": "string"}},
            "required": ["host"],
        },
    }
    serve = (
        "import sys, json\n"
        "for line in sys.stdin:\n"
        "    said = json.loads(line)\n"
        "    listed = said['method'] == 'tools/list'\n"
        f"    result = {{'tools': [{tool!r}]}} if listed else {{'content': []}}\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': said['id'], 'result': result}),"
        " flush=True)\n"
    )
    command = (sys.executable, "-c", serve)
    async with wrapped("--standalone", command=command) as client:
        assert "not a call of `look`" in str(await client.ask(call(1, "look", host=1)))
        assert "error" in await client.ask(call(2, "look"))
        assert "error" in await client.ask(call(3, "unlisted", host="a"))
        assert "result" in await client.ask(call(4, "look", host="a"))
