"""The scale study, at sizes that take no time: figures, plots and page fit together."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from scenarios.drawing import Line, against_size
from scenarios.scalepage import Feeds, Row, Turns, write_study
from scenarios.study import (
    CITIES,
    reckoned_reach_ms,
    study,
    study_feeds,
    study_turns,
    voices_needed,
)

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [study(20), study(40)]


def test_nothing_is_sooner_than_the_shortest_ways(rows: list[Row]) -> None:
    for row in rows:
        assert 0 < row.reach_p50_ms <= row.reach_p99_ms <= row.reach_max_ms
        assert row.reach_p99_ms > row.floor_ms * 0.8
        assert row.cut_p99_ms > row.cut_p50_ms > 0


def test_a_report_costs_each_node_about_one_batch(rows: list[Row]) -> None:
    for row in rows:
        assert 3_400 < row.bytes_per_report < 20_000


def test_what_is_reckoned_grows_with_the_logarithm() -> None:
    small, large = reckoned_reach_ms(100), reckoned_reach_ms(10_000)
    assert small < large <= 2 * small


@pytest.mark.parametrize(
    ("nodes", "colluders", "needed"), [(5, 1, 2), (100, 3, 11), (10_000, 3, 629)]
)
def test_voices_needed_are_more_than_liars_and_mistaken(
    nodes: int, colluders: int, needed: int
) -> None:
    assert voices_needed(nodes, colluders) == needed


def test_feeds_cost_what_is_on_disk_and_more() -> None:
    found = study_feeds(8)
    assert found.disk_kb > 3.3
    assert found.sent_mb > 0


def test_speakers_in_turn_are_told_by_first_report_and_others() -> None:
    found = study_turns(10, 40)
    assert found.bar_ms == 186
    assert min(found.one_first_ms, found.one_rest_ms) > 30  # the legs there are
    assert min(found.two_first_ms, found.two_rest_ms) > 30


def test_the_page_names_every_plot_and_every_plot_is_svg(
    rows: list[Row], tmp_path: Path
) -> None:
    feeds = [Feeds(nodes=50, held_kb=31, disk_kb=16, sent_mb=6)]
    turns = Turns(
        share=10,
        one_first_ms=150,
        one_rest_ms=140,
        two_first_ms=500,
        two_rest_ms=250,
        bar_ms=186,
    )
    write_study(tmp_path, rows, [turns], feeds, [(20, 4), (40, 7)], CITIES, 180.0)
    page = (tmp_path / "scale.md").read_text()
    plots = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert len(plots) == 4
    for name in plots:
        assert f"({name})" in page
        drawn = ElementTree.parse(tmp_path / name).getroot()
        assert drawn.tag == f"{SVG}svg"
        assert drawn.findall(f"{SVG}polyline")
    assert "| 20 | " in page
    assert "| 10 % | 150 ms | 140 ms | 500 ms | 250 ms | 186 ms |" in page
    assert "4 of 20, 7 of 40" in page
    assert "17 a second, 3.0 ms of a processor for the signatures alone" in page
    assert all(f"| {city} | " in page for city in CITIES)


def test_a_plot_escapes_and_stays_inside_its_frame() -> None:
    drawn = against_size([10, 100], [Line("a < b", "#000", [1.0, 0.0])], "ms")
    (line,) = ElementTree.fromstring(drawn).findall(f"{SVG}polyline")
    points = [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
    assert all(0 <= x <= 760 and 0 <= y <= 280 for x, y in points)
    assert "a &lt; b" in drawn
