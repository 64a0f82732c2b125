"""A daemon that was away while 20 000 reports were spread soon holds them all."""

from pathlib import Path

import pytest

from tests.bench.catchup import measure

REPORTS = 20_000
CAUGHT_UP_S = 30.0
RATIO_MAX = 2.0


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_thousand_missed_reports_arrive_within_half_a_minute(
    tmp_path: Path,
) -> None:
    found = measure(tmp_path, REPORTS)
    caught_up_s, ratio = found["caught_up_s"], found["ratio_received"]
    assert isinstance(caught_up_s, float)
    assert isinstance(ratio, float)
    assert caught_up_s <= CAUGHT_UP_S, found
    assert ratio <= RATIO_MAX, found
