"""The promises of the house: its rooms, its layers, and nothing of anybody's machine."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = ["gossip", "enforcement", "node", "scenarios"]
ROOMS = {*PACKAGES, "docs", "tests", ".ci"}
LINES_MAX = 450
BASENAMES = {
    *{".gitignore", ".editorconfig", "Makefile", "LICENSE", "pyproject.toml"},
    *{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"},
    *{f"requirements{kind}.lock" for kind in ["", ".dev", ".build"]},
}
# Cut in two, so that this file may be searched too.
FOREIGN = re.compile(
    "|".join(
        [
            "(?<![a-z0-9$}_.-])/(?:" + "work|home/[a-z]+|root)/",
            "https?://[^ ]*(?:" + "pythonhosted|/simple(?![a-z])|pypi[.]org/simple)",
            "--(?:extra-)?" + "index-url",
        ]
    )
)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    paths = map(Path, filter(None, listed.stdout.split("\0")))
    return [path for path in paths if (ROOT / path).is_file()]


def modules() -> list[Path]:
    paths = tracked()
    return [p for p in paths if p.suffix == ".py" and p.parts[0] in PACKAGES]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / path).read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def declared(group: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"][group]]
    return {
        canonicalize_name(Requirement(text).name)
        for text in wanted
        if isinstance(text, str)
    }


def test_nobody_builds_a_room_that_the_design_does_not_know() -> None:
    for path in tracked():
        known = ROOMS if len(path.parts) > 1 else BASENAMES
        assert path.parts[0] in known, path


def test_nothing_names_a_machine_or_a_registry() -> None:
    for path in tracked():
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = FOREIGN.search(text)
        assert found is None, f"{path}: {found}"


def test_every_module_says_what_it_is_in_one_breath() -> None:
    for path in modules():
        said = ast.get_docstring(ast.parse((ROOT / path).read_bytes()))
        assert said, path
        assert said.splitlines()[0].rstrip().endswith((".", ":", ";", ",")), path


def test_no_module_outgrows_its_room() -> None:
    for path in modules():
        assert len((ROOT / path).read_text().splitlines()) <= LINES_MAX, path


def test_every_import_is_asked_for_by_the_project() -> None:
    known = {*sys.stdlib_module_names, *PACKAGES}
    homes = importlib.metadata.packages_distributions()
    for path in modules():
        asked = declared("dev" if path.parts[0] == "scenarios" else "libp2p")
        for name in set(imported(path)) - known:
            found = {canonicalize_name(home) for home in homes.get(name, [])}
            assert found & asked, f"{path} imports {name}"


def test_nobody_imports_upwards_and_the_core_does_no_io() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
