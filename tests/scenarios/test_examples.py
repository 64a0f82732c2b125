"""Every `picket sim` that a page shows is one that can be called, in that size too."""

import re
import shlex
from pathlib import Path

import pytest

from scenarios.cli import sim
from scenarios.drawing import curves
from scenarios.reading import load
from scenarios.real.fit import check_fit

ROOT = Path(__file__).parents[2]
SHOWN = re.compile(
    r"(?:^    |`)picket (sim [a-z][^`\n]*?)(?:`|\s{3,}|\n)", re.MULTILINE
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted({m for page in PAGES for m in SHOWN.findall(page.read_text())})


def test_the_pages_show_examples() -> None:
    assert any("--real" in example for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_a_page_can_be_called(example: str) -> None:
    _, verb, *words = shlex.split(example.replace("FILE", "bank"))
    command = sim.commands[verb]
    options = command.make_context(verb, words).params if words else {}
    scenario = load(options["name"]) if options.get("name") else None
    if scenario is not None and options.get("nodes"):
        scenario = scenario.resized(options["nodes"])
        assert scenario.size == options["nodes"]
    if scenario is not None and options.get("real"):
        check_fit(options["name"], scenario, namespaces=True)


def test_an_axis_ends_where_nearly_all_is_drawn_in_round_numbers() -> None:
    soon = [[0, *range(1_000, 40_000, 50)] for _ in range(4)]
    late = [[0, 31_000_000]]
    drawn = curves(soon + late, 800)
    assert "50 ms" in drawn
    assert "1 of 3126 later, the last after 31 s" in drawn
    assert "10 s" in curves([[0, 2_000_000, 7_500_000]], 3)
