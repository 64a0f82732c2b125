"""The control socket: one line asks, one line answers, nothing ends the daemon."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from gossip.errors import PeerError, UserError
from node.control import (
    REQUEST_BYTES_MAX,
    Args,
    Command,
    Control,
    bind_unix,
    int_arg,
    text_arg,
)
from node.jsonlines import Json, ask, ask_many


def echo(args: Args) -> Json:
    return {"said": text_arg(args, "text")}


def count(args: Args) -> AsyncIterator[Json]:
    async def parts() -> AsyncIterator[Json]:
        for n in range(int_arg(args, "to", 3, 1, 10)):
            await trio.lowlevel.checkpoint()
            yield n

    return parts()


def broken(args: Args) -> Json:
    raise ZeroDivisionError


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[list[BaseException]]:
    faults: list[BaseException] = []
    commands: dict[str, Command] = {"echo": echo, "count": count, "broken": broken}
    control = Control(commands, faults.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.serve, bind_unix(path))
        yield faults
        nursery.cancel_scope.cancel()


async def in_thread(path: Path, do: str, args: dict[str, Json] | None = None) -> Json:
    return await trio.to_thread.run_sync(ask, path, do, args)


async def test_a_question_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    async with serving(path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert await in_thread(path, "echo", {"text": "hé\n"}) == {"said": "hé\n"}


async def test_an_answer_may_come_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    async with serving(path):
        parts = await trio.to_thread.run_sync(
            lambda: list(ask_many(path, "count", {"to": 4}))
        )
        assert parts == [0, 1, 2, 3, None]


@pytest.mark.parametrize(
    ("do", "args", "says"),
    [
        ("nothing", {}, "no such command; known are broken, count, echo"),
        ("echo", {}, "argument `text` must be a string"),
        ("count", {"to": True}, "whole number, 1 to 10"),
        ("count", {"to": 11}, "whole number, 1 to 10"),
    ],
)
async def test_a_bad_question_is_answered_by_a_sentence(
    tmp_path: Path, do: str, args: dict[str, Json], says: str
) -> None:
    path = tmp_path / "c.sock"
    async with serving(path):
        with pytest.raises(UserError, match=says):
            await in_thread(path, do, args)


async def raw(path: Path, data: bytes) -> list[dict[str, Json]]:
    stream = await trio.open_unix_socket(str(path))
    async with stream:
        await stream.send_all(data)
        await stream.send_eof()
        received = b"".join([chunk async for chunk in stream])
    return [json.loads(line) for line in received.splitlines()]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"garbage\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'{"v":1,"id":1,"do":[],"args":{}}\n',
        b'{"v":1,"id":1,"do":"echo","args":[]}\n',
        b'{"v":2,"id":1,"do":"echo"}\n',
        b'{"v":true,"id":1,"do":"echo","args":{"text":"x"}}\n',
        b'{"v":1,"id":1,"do":"echo","args":{"text":"\\ud800"}}\n',
        b'{"do":"echo"}\n',
        b"[" * 100_000 + b"\n",
    ],
)
async def test_garbage_gets_a_sentence_and_the_next_line_an_answer(
    tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "c.sock"
    good = b'{"v":1,"id":9,"do":"echo","args":{"text":"x"}}\n'
    with trio.fail_after(5):
        async with serving(path) as faults:
            wrong, right = await raw(path, line + good)
            assert isinstance(wrong["error"], dict)
            assert right == {"v": 1, "id": 9, "ok": {"said": "x"}}
            assert faults == []


async def test_a_line_without_end_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with trio.fail_after(5):
        async with serving(path):
            (answer,) = await raw(path, b"x" * (REQUEST_BYTES_MAX + 1))
            assert answer["error"] == {"sentence": "the request is too long"}


async def test_a_command_that_fails_ends_its_connection_only(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    async with serving(path) as faults:
        with pytest.raises(UserError, match="hung up"):
            await in_thread(path, "broken")
        assert await in_thread(path, "echo", {"text": "x"}) == {"said": "x"}
        assert len(faults) == 1


def test_without_a_daemon_the_sentence_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="picket run"):
        ask(tmp_path / "c.sock", "status")


def test_a_dead_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    living = bind_unix(path)
    with pytest.raises(UserError, match="a daemon runs here already"):
        bind_unix(path)
    living.close()


def test_a_path_too_long_for_a_socket_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shorter `state` folder"):
        bind_unix(tmp_path / ("x" * 120))


def test_arguments_are_checked() -> None:
    with pytest.raises(PeerError):
        int_arg({"n": "1"}, "n", 1, 0, 9)
