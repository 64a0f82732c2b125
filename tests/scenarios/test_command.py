"""`picket sim`: verdicts for people and machines, and nothing else on stdout."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gossip.errors import UserError
from scenarios.cli import sim
from scenarios.reading import parse

FAILS = """
title = "fails <b>"
length_s = 6
seeds = [7]
[nodes]
honest = 4
liar = 1
[[story]]
at_s = 2
who = "every honest"
does = "report"
[[story]]
at_s = 3
who = "liar-0"
does = "crash"
[expect]
eventually = ["quarantine liar-0"]
within_s = 1
"""


def ask(*words: str) -> Result:
    return CliRunner().invoke(sim, words, standalone_mode=False)


@pytest.fixture
def failing(tmp_path: Path) -> str:
    path = tmp_path / "fails.toml"
    path.write_text(FAILS)
    return str(path)


def test_json_is_one_object_and_repeats_but_for_the_wall_clock() -> None:
    words = ("run", "honest_baseline", "--nodes", "12", "--seed", "5", "--json")
    first, second = (json.loads(ask(*words).stdout) for _ in range(2))
    assert {first.pop("wall")["seconds"] > 0, second.pop("wall")["seconds"] > 0} == {
        True
    }
    assert first == second
    assert first["verdict"] == "pass"
    assert first["nodes"] == 12
    assert re.fullmatch("[0-9a-f]{64}", first["trace_digest"])


def test_a_size_that_the_story_does_not_fit_into_is_refused() -> None:
    result = ask("run", "hospital", "--nodes", "3")
    assert isinstance(result.exception, UserError)
    assert "`--nodes 3`: hospital takes 13 nodes at least" in str(result.exception)


def test_a_failure_says_so_exits_1_and_tells_how_to_replay_it(failing: str) -> None:
    result = ask("run", failing)
    assert result.return_value == 1
    assert "`quarantine liar-0` did not come true within 1 s" in result.stdout
    assert f"replay: picket sim run {failing} --seed 7" in result.stdout


def test_the_page_stands_alone_and_escapes_what_it_shows(
    failing: str, tmp_path: Path
) -> None:
    page, trace = tmp_path / "page.html", tmp_path / "trace.jsonl"
    ask("run", failing, "--report", str(page), "--trace", str(trace))
    text = page.read_text()
    assert "fails &lt;b&gt;" in text
    assert "<script" not in text
    assert "http" not in text
    assert text.count("<polyline") == 4
    assert all(json.loads(line) for line in trace.read_text().splitlines())


def test_the_page_shows_who_was_cut_and_on_what_grounds(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    ask("run", "bank", "--report", str(page))
    assert "<td>attacker-0</td>" in page.read_text()
    assert "<td>proof</td>" in page.read_text()


@pytest.mark.parametrize("option", ["--trace", "--report"])
def test_a_file_that_cannot_be_written_is_told_in_one_sentence(
    option: str, tmp_path: Path
) -> None:
    wanted = str(tmp_path / "missing" / "file")
    with pytest.raises(UserError, match="cannot write"):
        CliRunner().invoke(
            sim,
            ["run", "bank", option, wanted],
            standalone_mode=False,
            catch_exceptions=False,
        )


def test_the_library_is_listed() -> None:
    listed = json.loads(ask("list", "--json").stdout)
    assert "honest_baseline" in {one["name"] for one in listed}
    assert "honest_baseline" in ask("list").stdout


def test_shrinking_prints_a_scenario_that_still_fails(failing: str) -> None:
    small = parse(ask("shrink", failing).stdout, "small")
    assert small.size < 5
    assert small.story == ()


def test_what_does_not_fail_cannot_be_shrunk() -> None:
    result = ask("shrink", "one_liar_of_five")
    assert isinstance(result.exception, UserError)


def test_the_swarm_writes_down_what_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = parse(FAILS, "fails")
    monkeypatch.setattr("scenarios.cli.random_scenario", lambda _seed: scenario)
    result = ask(
        *("swarm", "--minutes", "0.01", "--seed", "3", "--out", str(tmp_path), "--json")
    )
    assert result.return_value == 1
    told = json.loads(result.stdout)
    assert told["failed"][0]["seed"] == told["first_seed"] == 3
    assert parse((tmp_path / "swarm-3.toml").read_text(), "x").seeds == (3,)


def test_the_swarm_outlives_a_court_that_falls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("enforcement.decide.court.Court.hear", fall)
    words = ("swarm", "--minutes", "0.01", "--seed", "3", "--out", str(tmp_path))
    result = ask(*words)
    assert result.return_value == 1
    assert "raised ZeroDivisionError() at " in result.stdout
    file = tmp_path / "swarm-3.toml"
    assert f"replay: picket sim run {file} --seed 3" in result.stdout
    assert "ZeroDivisionError" in ask("run", str(file), "--seed", "3").stdout


def test_a_calm_swarm_exits_0() -> None:
    assert ask("swarm", "--minutes", "0.01").return_value == 0
