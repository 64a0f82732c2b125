"""The promises of the locks: exact, hashed, from anywhere, and agreeing."""

import importlib.metadata
import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = [*ROOT.glob("requirements*.lock"), *ROOT.glob("scenarios/demo/servers/*.lock")]
PINNED = re.compile(r"([a-z0-9-]+)==([a-z0-9.]+)( ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def locked(lock: str) -> dict[str, Version]:
    lines = (ROOT / lock).read_text().splitlines()
    pins = filter(None, map(PINNED.fullmatch, lines))
    return {pin[1]: Version(pin[2]) for pin in pins}


def declared() -> Iterator[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    yield from map(Requirement, project["project"]["dependencies"])
    yield from map(Requirement, project["dependency-groups"]["libp2p"])


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_holds_names_versions_and_hashes_and_nothing_else(lock: Path) -> None:
    lines = lock.read_text().splitlines()
    for line in lines:
        comment = line.startswith("    #") and "://" not in line
        assert comment or PINNED.fullmatch(line) or HASH.fullmatch(line), line
    for line, following in itertools.pairwise(lines):
        if PINNED.fullmatch(line):
            assert HASH.fullmatch(following), f"{line} has no hash"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements.dev.lock"])
def test_the_locks_hold_what_the_project_asks_for(lock: str) -> None:
    held = locked(lock)
    for wanted in declared():
        assert held[canonicalize_name(wanted.name)] in wanted.specifier


def test_developers_run_the_versions_that_users_run() -> None:
    dev = locked("requirements.dev.lock")
    users = locked("requirements.lock") | locked("requirements.build.lock")
    assert users.items() <= dev.items()


def test_every_server_of_the_demo_has_a_lock_that_names_it() -> None:
    asked = sorted(ROOT.glob("scenarios/demo/servers/*.in"))
    assert asked
    for server in asked:
        lock = server.with_suffix(".lock").relative_to(ROOT)
        assert f"mcp-server-{server.stem}" in locked(str(lock))


def test_fastecdsa_is_one_that_has_wheels() -> None:
    assert locked("requirements.lock")["fastecdsa"] >= Version("3.0.1")


def test_the_wheel_asks_for_all_that_libp2p_asks_for_but_its_fastecdsa() -> None:
    ours = {canonicalize_name(r.name): r.specifier for r in declared()}
    for text in importlib.metadata.requires("libp2p") or []:
        theirs = Requirement(text)
        if theirs.name == "fastecdsa":
            assert str(theirs.specifier) == "==2.3.2", "take decision 0001 back"
        elif theirs.marker is None or theirs.marker.evaluate({"extra": ""}):
            assert canonicalize_name(theirs.name) in ours, text
            held = locked("requirements.lock")[canonicalize_name(theirs.name)]
            assert held in theirs.specifier, text


def test_the_environment_is_what_the_lock_says() -> None:
    locks = locked("requirements.dev.lock")
    for name in ["libp2p", "fastecdsa", "cryptography", "trio", "cedarpy", "pytest"]:
        found = Version(importlib.metadata.version(name))
        assert found == locks[name], f"{name}: run `make setup`"
