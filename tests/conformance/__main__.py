"""The official conformance suites, direct, through the gate and through the mesh.

Run as ``python -m tests.conformance [--path gate|mesh] [--suite sessions|stateless]``.
Prints one JSON line per suite and path; ends with 1 if a check that the server passes
directly is lost on the way. npm brings the suites, locked, into ``.venv/conformance``.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TypeAlias

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
HOME: Final = ROOT / ".venv" / "conformance"
NODE: Final = HOME / "sessions/node_modules/.bin/node"
MAIN: Final = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
OPTIONS: Final = {
    "sessions": ("--suite", "all"),
    "stateless": ("--requirements", "2026-07-28"),
}
SUITE_S: Final = 300
INSTALL_S: Final = 300

_STAMP = re.compile(r"-\d{4}-\d\d-\d\dT.*")

Passed: TypeAlias = Counter[tuple[str, str, str]]


def install(suite: str) -> str | None:
    """Bring a suite; returns why it cannot be brought."""
    npm, home = shutil.which("npm"), HOME / suite
    if npm is None:
        return "npm is not here; install Node.js to run the conformance suites"
    lock = (HERE / "suites" / suite / "package-lock.json").read_bytes()
    made = home / "made-from"
    if made.exists() and made.read_bytes() == lock:
        return None
    shutil.copytree(HERE / "suites" / suite, home, dirs_exist_ok=True)
    command = (npm, "ci", "--no-fund", "--no-audit", "--loglevel=error")
    done = subprocess.run(
        command, cwd=home, timeout=INSTALL_S, capture_output=True, text=True
    )
    if done.returncode:
        return f"npm could not install {suite}: {done.stderr.strip()[-300:]}"
    made.write_bytes(lock)
    return None


@contextmanager
def serving(*command: str) -> Iterator[str]:
    """A process of ours; gives the first line it prints, ends it afterwards."""
    process = subprocess.Popen(
        (sys.executable, "-m", *command),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.communicate(timeout=10)


def run(suite: str, url: str) -> Passed:
    """The checks that pass, each as often as it does."""
    with tempfile.TemporaryDirectory() as told:
        command = (str(NODE), MAIN, "server", "--url", url, "-o", told)
        subprocess.run(
            (*command, *OPTIONS[suite]),
            cwd=HOME / suite,
            timeout=SUITE_S,
            capture_output=True,
        )
        return count(Path(told))


def count(told: Path) -> Passed:
    """Read what a suite left behind."""
    passed: Passed = Counter()
    for file in sorted(told.glob("*/checks.json")):
        scenario = _STAMP.sub("", file.parent.name)
        for check in json.loads(file.read_text()):
            if check["status"] == "SUCCESS":
                passed[scenario, check["id"], check["name"]] += 1
    return passed


def say(**told: object) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def compare(suite: str, direct: Passed, paths: dict[str, str]) -> bool:
    """Run a suite on each path; returns whether nothing is lost."""
    kept = bool(direct)
    for path, url in paths.items():
        through = run(suite, url)
        lost = [" ".join(check) for check in (direct - through)]
        counts = {"direct": direct.total(), "through": through.total()}
        say(suite=suite, path=path, **counts, lost=lost)
        kept = kept and not lost
    return kept


def main(words: list[str]) -> int:
    """Run what is asked for, or everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("--suite", choices=OPTIONS, action="append")
    parser.add_argument("--path", choices=("gate", "mesh"), action="append")
    asked = parser.parse_args(words)
    suites: list[str] = asked.suite or list(OPTIONS)
    for suite in dict.fromkeys(["sessions", *suites]):  # the first brings Node
        missing = install(suite)
        if missing is not None:
            say(suite=suite, skipped=missing)
            return 0
    with ExitStack() as stack:
        port = stack.enter_context(serving("tests.conformance.server")).strip()
        url = f"http://127.0.0.1:{port}/mcp"
        rig: dict[str, str] = json.loads(
            stack.enter_context(serving("tests.conformance.rig", url))
        )
        paths = {path: rig[path] for path in asked.path or rig}
        kept = [compare(suite, run(suite, url), paths) for suite in suites]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
