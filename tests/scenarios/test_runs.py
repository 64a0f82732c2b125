"""What a run promises: one seed, one order of events, one digest."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.reading import load, parse
from scenarios.run import run
from scenarios.swarm import failure, random_scenario, shrink

ROOT = Path(__file__).parents[2]
SMALL = """
title = "small"
length_s = 12
[nodes]
honest = 5
[[story]]
at_s = 2
who = "every honest"
does = "report"
every_s = 1
[[story]]
at_s = 4
who = "honest-1"
does = "crash"
for_s = 4
[expect]
eventually = ["ledgers agree"]
"""


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 30))
def test_the_same_seed_is_the_same_run(seed: int) -> None:
    scenario = random_scenario(seed)
    assert run(scenario, seed) == run(scenario, seed)


def test_another_seed_is_another_run() -> None:
    scenario = parse(SMALL, "small")
    assert run(scenario, 1).trace_digest != run(scenario, 2).trace_digest


def test_a_run_does_not_depend_on_how_this_process_hashes() -> None:
    told = (
        "from scenarios.swarm import random_scenario\n"
        "from scenarios.run import run\n"
        "from scenarios.reading import load\n"
        "names = ('retail', 'bank', 'hospital', 'colluders')\n"
        "told = [random_scenario(3), random_scenario(8)]\n"
        "for s in told + [load(name).reduced() for name in names]:\n"
        "    print(run(s, 5).trace_digest)\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", told],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1


def test_writing_a_trace_changes_nothing() -> None:
    scenario, out = parse(SMALL, "small"), io.StringIO()
    assert run(scenario, 1, trace=out) == run(scenario, 1)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {"Admitted", "Frame", "story"} <= {line["event"] for line in lines}
    assert [line["t_ms"] for line in lines] == sorted(line["t_ms"] for line in lines)


def test_a_restarted_node_tells_the_same_story_and_hears_what_it_missed() -> None:
    verdict = run(parse(SMALL, "small"), 1)
    assert verdict.passed, verdict.failures
    assert verdict.figures["delivered_percent"] == 100


def test_a_bar_that_is_missed_fails_the_run_and_is_named() -> None:
    text = SMALL + "\n[bars]\nreach_p99_ms = 0.001\ndelivered_percent = 1\n"
    (failure,) = run(parse(text, "small"), 1).failures
    assert "`reach_p99_ms` is " in failure


def test_a_bar_without_anything_to_measure_is_missed() -> None:
    text = SMALL + "\n[bars]\ncut_p99_ms = 1000\ncut_percent = 0\n"
    failures = run(parse(text, "small"), 1).failures
    assert all("was not measured" in failure for failure in failures)
    assert len(failures) == 2


def test_more_liars_than_the_cluster_bears_are_believed_and_the_run_says_so() -> None:
    slander = load("slander")
    many = attrs.evolve(slander, nodes=(("honest", 5), ("liar", 8)))
    (failure,) = run(many, 1).failures
    assert failure.startswith("never `")


DEAD = """
title = "everybody dies"
length_s = 5
[nodes]
honest = 4
[[story]]
at_s = 1
does = "report"
who = "every honest"
[[story]]
at_s = 1
does = "crash"
who = "everybody"
[expect]
eventually = ["{hope}"]
within_s = 1
"""


CALLS = """
[[story]]
at_s = 3
who = "honest-0"
does = "call"
whom = "honest-2"
tool = "ask"
every_s = 1
"""


@pytest.mark.parametrize(
    ("core", "told"),
    [
        ("enforcement.decide.court.Court.hear", "told its court Entry("),
        ("enforcement.decide.court.Court.tick", "told its court to look again"),
        ("enforcement.gate.Gate.handle", "told its egress gate ClientMessage"),
    ],
)
def test_what_a_court_or_a_gate_raises_fails_the_run_and_shrinks(
    core: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(*_: object) -> None:
        raise ZeroDivisionError

    scenario = parse(SMALL.replace("[expect]", f"{CALLS}\n[expect]"), "small")
    monkeypatch.setattr(core, fall)
    (sentence,) = run(scenario, 1).failures
    assert "raised ZeroDivisionError() at " in sentence
    assert told in sentence
    small = shrink(scenario, 1)
    assert len(small.story) < len(scenario.story)
    assert failure(small, 1) == failure(scenario, 1)


@pytest.mark.parametrize(
    "hope",
    [
        *("deliver everything", "ledgers agree", "standings agree"),
        *("quarantine honest", "clear honest", "deny guilty", "quarantine any guilty"),
    ],
)
def test_nothing_holds_among_the_dead(hope: str) -> None:
    (failure,) = run(parse(DEAD.format(hope=hope), "dead"), 1).failures
    assert failure == f"`{hope}` is judged over nobody: no honest node is up"


def test_the_dead_hold_nothing() -> None:
    text = DEAD.replace("[expect]\neventually", "[bars]\ndelivered_percent = 100\n#")
    (failure,) = run(parse(text.replace("within_s", "#"), "dead"), 1).failures
    assert failure.startswith("`delivered_percent` was not measured")


def test_the_guilty_must_be_somebody_unless_any_will_do() -> None:
    text = SMALL.replace("ledgers agree", "quarantine guilty")
    (failure,) = run(parse(text, "small"), 1).failures
    assert failure.startswith("`quarantine guilty` is judged over nobody")
    text = SMALL.replace("ledgers agree", "quarantine any guilty")
    assert run(parse(text, "small"), 1).passed


def test_a_node_that_died_cannot_stand_in_for_one_that_never_cut() -> None:
    """honest-3 cuts the attacker and dies; honest-4 never hears of it."""
    text = """
title = "one never cuts"
length_s = 30
[nodes]
honest = 5
attacker = 1
[[story]]
at_s = 3
does = "partition"
sides = [["honest-4"], ["the rest"]]
for_s = 27
[[story]]
at_s = 5
does = "offend"
who = "attacker-0"
seen_by = "honest-0"
[[story]]
at_s = 10
does = "crash"
who = "honest-3"
[bars]
cut_percent = 100
"""
    (failure,) = run(parse(text, "cut"), 1).failures
    assert failure == "`cut_percent` is 75, and at least 100 was asked"


def test_what_the_core_raises_ends_the_run_with_the_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fall(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("gossip.engine.Engine._on_stored", fall)
    (failure,) = run(parse(SMALL, "small"), 1).failures
    assert "raised ZeroDivisionError" in failure
    assert "Stored" in failure
