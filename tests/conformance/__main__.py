"""The official conformance suites, direct, through the gate and through the mesh.

Server suites also meet the same server as a command, which has no HTTP of its own.

Run as ``python -m tests.conformance [--path NAME] [--suite NAME]``. Prints one JSON line
per suite and path; ends with 1 if a check that passes directly is lost on the way.
npm brings the suites, locked, into ``.venv/conformance``.

A server suite is a client: it speaks with our server. A client suite starts a server of
its own for each scenario, and our client, which puts the path between the two.
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
SUITES: Final = (*OPTIONS, *(f"{name}-clients" for name in OPTIONS))
PATHS: Final = ("gate", "mesh", "command", "command-mesh", "moved")
COMMANDS: Final = ("command", "command-mesh")
SUITE_S: Final = 600
CLIENT_MS: Final = 120_000
INSTALL_S: Final = 300

_STAMP = re.compile(r"-\d{4}-\d\d-\d\dT.*")

Passed: TypeAlias = Counter[tuple[str, str, str]]


def install(package: str) -> str | None:
    """Bring what a lock names; returns why it cannot be brought."""
    npm, home = shutil.which("npm"), HOME / package
    if npm is None:
        return "npm is not here; install Node.js to run the conformance suites"
    lock = (HERE / "suites" / package / "package-lock.json").read_bytes()
    made = home / "made-from"
    if made.exists() and made.read_bytes() == lock:
        return None
    shutil.copytree(HERE / "suites" / package, home, dirs_exist_ok=True)
    command = (npm, "ci", "--no-fund", "--no-audit", "--loglevel=error")
    done = subprocess.run(
        command, cwd=home, timeout=INSTALL_S, capture_output=True, text=True
    )
    if done.returncode:
        return f"npm could not install {package}: {done.stderr.strip()[-300:]}"
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


def run(suite: str, path: str, url: str) -> Passed:
    """The checks that pass on a path, each as often as it does."""
    home = suite.removesuffix("-clients")
    leg: tuple[str, ...] = ("server", "--url", url)
    if suite != home:
        client = f"{sys.executable} -m tests.conformance.client {path}"
        leg = ("client", "--command", client, "--timeout", str(CLIENT_MS))
    with tempfile.TemporaryDirectory() as told:
        subprocess.run(
            (str(NODE), str(HOME / home / MAIN), *leg, *OPTIONS[home], "-o", told),
            cwd=ROOT,
            timeout=SUITE_S,
            capture_output=True,
        )
        return count(Path(told))


def count(told: Path) -> Passed:
    """Read what a suite left behind."""
    passed: Passed = Counter()
    for file in sorted(told.rglob("checks.json")):
        scenario = _STAMP.sub("", str(file.parent.relative_to(told)))
        for check in json.loads(file.read_text()):
            if check["status"] == "SUCCESS":
                passed[scenario, check["id"], check["name"]] += 1
    return passed


def say(**told: object) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def compare(suite: str, wanted: list[str], paths: dict[str, str]) -> bool:
    """Run a suite on each path; returns whether nothing is lost."""
    direct = run(suite, "direct", paths["direct"])
    kept = bool(direct)
    for path in wanted:
        if path in COMMANDS and suite not in OPTIONS:
            continue  # a client suite's servers are all behind URLs
        through = run(suite, path, paths.get(path, paths["gate"]))
        lost = [" ".join(check) for check in (direct - through).elements()]
        counts = {"direct": direct.total(), "through": through.total()}
        say(suite=suite, path=path, **counts, lost=lost)
        kept = kept and not lost
    return kept


def main(words: list[str]) -> int:
    """Run what is asked for, or everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("--suite", choices=SUITES, action="append")
    parser.add_argument("--path", choices=PATHS, action="append")
    asked = parser.parse_args(words)
    suites: list[str] = asked.suite or list(SUITES)
    for package in OPTIONS:  # the first brings the Node that both need
        missing = install(package)
        if missing is not None:
            say(suite=package, skipped=missing)
            return 0
    with ExitStack() as stack:
        port = stack.enter_context(serving("tests.conformance.server")).strip()
        url = f"http://127.0.0.1:{port}/mcp"
        rig = stack.enter_context(serving("tests.conformance.rig", url))
        paths: dict[str, str] = json.loads(rig)
        wanted: list[str] = asked.path or ["gate", "mesh", *COMMANDS]
        kept = [compare(suite, wanted, paths) for suite in suites]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
