"""What the simulator must show at full size. Slow: each takes a minute or more."""

import resource
import time

import attrs
import pytest

from scenarios.reading import load
from scenarios.run import run
from tests.support.slander import slander

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]

TRIALS = 10_000
PARTS = 20


def test_one_report_reaches_ten_thousand_nodes_in_a_minute_of_one_core() -> None:
    began_s = time.process_time()
    verdict = run(load("one_report").resized(10_000), 1)
    took_s = time.process_time() - began_s

    assert verdict.passed, verdict.failures
    assert took_s <= 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= 8 << 20  # KiB


@pytest.mark.parametrize(
    ("name", "p99_ms"),
    [
        ("droppers_10", 186),
        ("droppers_30", 500),
        ("droppers_50", 1_500),
    ],
)
def test_droppers_among_ten_thousand_delay_little_and_hide_nothing(
    name: str, p99_ms: float
) -> None:
    scenario = attrs.evolve(load(name).resized(10_000), length_s=6)
    verdict = run(scenario, 1)

    assert verdict.passed, verdict.failures
    assert verdict.figures["delivered_percent"] == 100
    assert verdict.figures["reach_p99_ms"] <= p99_ms


@pytest.mark.parametrize("part", range(PARTS))
def test_as_many_liars_as_are_borne_convince_nobody(part: int) -> None:
    for seed in range(part, TRIALS, PARTS):
        verdict = run(slander(4 + seed // PARTS % 10), seed)
        assert verdict.passed, (seed, verdict.failures)
        assert verdict.figures["false_quarantines"] == 0
