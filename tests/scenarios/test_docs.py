"""The page on scenarios knows every word that a scenario file may use."""

import re
from pathlib import Path

import pytest

from scenarios.cast import ROLES
from scenarios.figures import BARS
from scenarios.reading import parse
from scenarios.verbs import VERBS

TEXT = (Path(__file__).parents[2] / "docs" / "scenarios.md").read_text()


@pytest.mark.parametrize("word", [*ROLES, *VERBS, *BARS])
def test_it_is_described(word: str) -> None:
    assert f"`{word}`" in TEXT


@pytest.mark.parametrize("name", list(VERBS))
def test_a_verb_is_described_with_all_its_keys(name: str) -> None:
    rows = (line for line in TEXT.splitlines() if line.count("|") == 5)
    (row,) = (line for line in rows if line.startswith(f"| `{name}` | "))
    _, _, needs, takes, _ = row.split("|", 4)
    assert set(re.findall(r"\w+", needs)) == VERBS[name].needs
    assert set(re.findall(r"\w+", takes)) == VERBS[name].takes


def test_the_example_is_a_scenario() -> None:
    found = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    assert parse(found[1], "the example").size == 5
