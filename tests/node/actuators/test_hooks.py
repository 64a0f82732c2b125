"""Operators' hooks: told everything once, by no shell, and never waited for."""

import io
import json
import os
import sys
from pathlib import Path

import trio

from node.actuators.hooks import WAITING_MAX, Hook
from node.jsonlines import Json
from node.log import Log

COPY = "import sys; open(sys.argv[1],'ab').write(sys.stdin.buffer.read())"


def hook(*command: str, events: tuple[str, ...] = (), deadline_s: float = 10) -> Hook:
    return Hook(
        name="pager",
        command=command,
        events=frozenset(events),
        deadline_s=deadline_s,
        log=Log("warn", stream=io.StringIO()),
    )


def said(made: Hook) -> str:
    assert isinstance(made.log.stream, io.StringIO)
    return made.log.stream.getvalue()


async def run_until(made: Hook, truth: object) -> None:
    assert callable(truth)
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            while not truth():  # noqa: ASYNC110 another process makes it true
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()


def lines(path: Path) -> list[dict[str, Json]]:
    return (
        [json.loads(n) for n in path.read_text().splitlines()] if path.exists() else []
    )


async def test_a_hook_is_told_in_order_what_it_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "told"
    made = hook(
        sys.executable, "-c", COPY, str(out), events=("quarantined", "released")
    )
    made.tell("quarantined", {"subject": "node:ab"})
    made.tell("page", {"subject": "not asked for"})
    made.tell("released", {"subject": "node:ab"})
    await run_until(made, lambda: len(lines(out)) == 2)
    assert [n["event"] for n in lines(out)] == ["quarantined", "released"]
    assert lines(out)[0]["v"] == 1


async def test_no_shell_reads_what_a_hook_is_given(tmp_path: Path) -> None:
    out = tmp_path / "told"
    trap = f"$(touch {tmp_path}/trap); touch {tmp_path}/trap"
    made = hook(sys.executable, "-c", COPY, str(out), trap)
    made.tell("page", {"names": trap})
    await run_until(made, lambda: len(lines(out)) == 1)
    assert not (tmp_path / "trap").exists()


async def test_a_hook_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        "import os,subprocess,sys,time\n"
        "c=subprocess.Popen([sys.executable,'-c','import time; time.sleep(600)'])\n"
        "open(sys.argv[1],'w').write(str(c.pid)+'\\n')\n"
        "time.sleep(600)\n"
    )
    made = hook(sys.executable, "-c", script, str(pids), deadline_s=1)
    made.tell("page", {})
    await run_until(made, lambda: "killed after" in said(made))
    child = int(pids.read_text())
    with trio.fail_after(10):
        while _is_alive(child):  # noqa: ASYNC110 the kernel buries it
            await trio.sleep(0.01)


async def test_a_hook_that_is_missing_or_fails_is_said_to_be() -> None:
    missing = hook("/nowhere/hook")
    missing.tell("page", {})
    await run_until(missing, lambda: "could not be started" in said(missing))
    failing = hook("/bin/false")
    failing.tell("page", {"long": "x" * 1_000_000})  # which it never reads
    await run_until(failing, lambda: "ended with status 1" in said(failing))


def test_a_slow_hook_makes_nothing_grow() -> None:
    made = hook("/bin/true")
    for n in range(WAITING_MAX + 5):
        made.tell("page", {"n": n})
    assert said(made).count("too slow") == 5


async def test_a_hook_sees_none_of_our_secrets(tmp_path: Path) -> None:
    os.environ["PICKET_SECRET"] = "x"
    out = tmp_path / "env"
    script = "import os,sys; open(sys.argv[1],'w').write(' '.join(os.environ)+' .')"
    made = hook(sys.executable, "-c", script, str(out))
    made.tell("page", {})
    try:
        await run_until(made, lambda: out.exists() and "." in out.read_text())
    finally:
        del os.environ["PICKET_SECRET"]
    assert "PICKET" not in out.read_text()


def _is_alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
