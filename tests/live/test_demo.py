"""The demo, as anybody runs it: every scene happens, and nothing stays behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENES = [
    "Ordinary calls pass, across nodes",
    "An honest node stops its own bot",
    "A compromised node convicts itself",
    "A flood is stopped by voices",
    "A liar accuses the fraud desk, in vain",
    "Operators ask why, and release",
    "The attack again, 3 times",
]

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short name: Unix sockets will be in it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield Path(folder)


@contextmanager
def demo_in(home: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The demo with its cluster under ``home``; ended at the end."""
    if not (ROOT / ".venv/servers").is_dir():
        pytest.skip("no MCP servers here: `make servers` makes them")
    with subprocess.Popen(
        [sys.executable, "-m", "scenarios.demo", "--fast", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(home)},
    ) as demo:
        try:
            yield demo
        finally:
            demo.terminate()


def wait_for_first_scene(demo: subprocess.Popen[str]) -> None:
    assert demo.stdout is not None
    told = []
    for line in demo.stdout:
        told.append(line)
        if line.startswith("1."):
            return
    pytest.fail("".join(told))


def running_under(home: Path) -> list[str]:
    """Command lines of all processes that mention ``home``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(home) in words:
            found.append(words)
    return found


def test_every_scene_happens_and_nothing_is_left(home: Path) -> None:
    with demo_in(home, "--json") as demo:
        out, err = demo.communicate(timeout=280)

    assert out, err
    told = json.loads(out)
    assert [scene["name"] for scene in told["scenes"]] == SCENES, err
    assert [s["missed"] for s in told["scenes"] if not s["happened"]] == [], err
    measured = {taken["what"]: taken["p50_ms"] for taken in told["measures"]}
    assert measured["proof held by all five"] > 0
    assert measured["refused by all five"] > 0
    assert "Traceback" not in err
    assert not running_under(home)
    assert not list(home.iterdir())


def test_an_interrupted_demo_leaves_nothing(home: Path) -> None:
    with demo_in(home) as demo:
        wait_for_first_scene(demo)
        assert len(running_under(home)) >= 5

        demo.send_signal(signal.SIGINT)
        _, err = demo.communicate(timeout=60)

    assert demo.returncode == 130, err
    assert "Traceback" not in err
    assert not running_under(home)
    assert not list(home.iterdir())


def test_a_daemon_that_dies_is_named_and_the_demo_fails(home: Path) -> None:
    with demo_in(home) as demo:
        wait_for_first_scene(demo)
        (folder,) = home.iterdir()

        os.kill(daemon_of(folder / "gateway"), signal.SIGKILL)
        out, err = demo.communicate(timeout=280)

    assert demo.returncode == 1
    assert "NO: " in out
    assert "the daemon of gateway has ended" in out
    assert "Traceback" not in err
    assert not running_under(home)


def daemon_of(home: Path) -> int:
    """The process that runs the node in ``home``."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            words = entry.read_bytes().split(b"\0")
            if str(home).encode() in words and b"run" in words:
                return int(entry.parent.name)
    raise AssertionError(f"no daemon runs in {home}")
