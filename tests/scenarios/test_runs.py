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
from scenarios.swarm import random_scenario

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
    text = SMALL + "\n[bars]\nreach_p99_ms = 0.001\n"
    (failure,) = run(parse(text, "small"), 1).failures
    assert "`reach_p99_ms` is " in failure


def test_a_bar_without_anything_to_measure_is_missed() -> None:
    text = SMALL + "\n[bars]\ncut_p99_ms = 1000\n"
    (failure,) = run(parse(text, "small"), 1).failures
    assert "was not measured" in failure


def test_more_liars_than_the_cluster_bears_are_believed_and_the_run_says_so() -> None:
    slander = load("slander")
    many = attrs.evolve(slander, nodes=(("honest", 5), ("liar", 8)))
    (failure,) = run(many, 1).failures
    assert failure.startswith("never `")


def test_what_the_core_raises_ends_the_run_with_the_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fall(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("gossip.engine.Engine._on_stored", fall)
    (failure,) = run(parse(SMALL, "small"), 1).failures
    assert "raised ZeroDivisionError" in failure
    assert "Stored" in failure
