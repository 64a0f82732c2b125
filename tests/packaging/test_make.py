"""The promises of the Makefile: it explains itself and names what is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ["bash", "env", "awk", "cat", "git"]


def make(*args: str, path: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": path, "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(
        [shutil.which("make") or "make", *args],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with nothing but the tools, python3 being this interpreter's base."""
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (tmp_path / tool).symlink_to(found)
    python = Path(sys.base_prefix) / "bin" / "python3"
    script(tmp_path / "python3", f'exec {python} "$@"')
    return tmp_path


def script(path: Path, body: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)


def refused(tools: Path) -> str:
    done = make("prerequisites", path=str(tools))
    assert done.returncode != 0
    return done.stderr.splitlines()[0]


def test_plain_make_lists_the_targets() -> None:
    listed = make(path=os.environ["PATH"]).stdout
    for target in ["setup", "servers", "demo", "test", "check", "bench", "lock"]:
        assert f"\n{target} " in listed


def test_every_measurement_has_a_target_that_runs_it() -> None:
    names = sorted(path.stem for path in (ROOT / "tests" / "bench").glob("[a-z]*.py"))
    assert names
    for name in names:
        planned = make("-n", f"bench-{name}", path=os.environ["PATH"]).stdout
        assert f"-m tests.bench.{name}" in planned


def test_a_complete_machine_is_not_bothered(tools: Path) -> None:
    done = make("prerequisites", path=str(tools))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("tool", ["git", "python3"])
def test_a_missing_tool_is_named_with_the_line_that_mends_it(
    tools: Path, tool: str
) -> None:
    (tools / tool).unlink()
    said = refused(tools)
    assert "missing" in said
    assert "sudo apt install git make python3-venv" in said


def test_a_python_without_venv_is_met_with_the_line_that_mends_it(
    tools: Path,
) -> None:
    script(tools / "python3", 'case "$*" in *ensurepip*) exit 1 ;; esac')
    assert refused(tools).endswith("run: sudo apt install python3-venv")


def test_an_old_python_is_met_with_the_line_that_mends_it(tools: Path) -> None:
    script(
        tools / "python3",
        'case "$*" in -V) echo Python 3.9.2 ;; *version_info*) exit 1 ;; esac',
    )
    said = refused(tools)
    assert "python3 is Python 3.9.2" in said
    assert said.endswith("run: sudo apt install python3.11-venv")


def test_a_newer_python_beside_an_old_one_is_taken(tools: Path) -> None:
    (tools / "python3").rename(tools / "python3.12")
    script(tools / "python3", 'case "$*" in *version_info*) exit 1 ;; esac')
    assert make("prerequisites", path=str(tools)).returncode == 0
