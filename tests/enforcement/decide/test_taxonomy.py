"""The taxonomy is one table: in code, in the docs, and in what is really said."""

import re
from pathlib import Path

import pytest

from enforcement.decide.hearing import TWO_FACED
from enforcement.decide.taxonomy import CATEGORIES, OTHER, find_category, write_table
from enforcement.defend.rules import DEFAULT_CATEGORY
from enforcement.reporting import HOSTILE_REQUEST
from gossip.limits import NAME_CHARS_MAX

ROOT = Path(__file__).parents[3]
SHAPES = {
    "atlas": r"AML\.T\d{4}(\.\d{3})?",
    "attack": r"T\d{4}(\.\d{3})?",
    "owasp": r"MCP(0[1-9]|10)",
    "safe": r"SAFE-T\d{4}",
}


def test_the_docs_show_this_very_table() -> None:
    page = (ROOT / "docs" / "reference" / "taxonomy.md").read_text()
    assert "\n".join(write_table()) in page


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda c: c.name)
def test_every_category_can_be_said_and_its_ids_are_ids(category: object) -> None:
    assert isinstance(category, type(OTHER))
    assert re.fullmatch("[a-z-]+", category.name)
    assert len(category.name) <= NAME_CHARS_MAX
    assert 1 <= category.severity <= 9
    for catalogue, shape in SHAPES.items():
        for known in getattr(category, catalogue):
            assert re.fullmatch(shape, known)


def test_names_are_said_once_and_strangers_are_other() -> None:
    assert len({c.name for c in CATEGORIES}) == len(CATEGORIES)
    assert find_category("from-elsewhere") is OTHER


def test_everything_that_is_said_has_a_category() -> None:
    said = {DEFAULT_CATEGORY, TWO_FACED, HOSTILE_REQUEST, "equivocation"}
    for path in (ROOT / "enforcement" / "defend" / "starter").glob("*.cedar"):
        said |= set(re.findall(r'@category\("([^"]+)"\)', path.read_text()))
    judging = (ROOT / "enforcement" / "judging.py").read_text()
    said |= set(re.findall(r'_witness\(\s*\w+, "([a-z-]+)"', judging))
    assert {name for name in said if find_category(name) is OTHER} == set()
