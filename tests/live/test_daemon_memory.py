"""What a daemon holds: idle, and after many reports. `make bench-memory` tells more."""

from pathlib import Path

import pytest
import trio

from tests.bench.memory import MEMBERS, idle, measure
from tests.support.daemons import cluster

pytestmark = pytest.mark.live
IDLE_MB_MAX = 120.0
FULL_MB_MAX = 250.0
GROWTH_MB_MAX = 15.0
REPORTS = 200_000
"""By then all that is bounded is full."""


def test_idle_daemons_stay_small(tmp_path: Path) -> None:
    assert idle(tmp_path, 3)[-1] <= IDLE_MB_MAX


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_many_reports_do_not_make_it_grow_for_ever(tmp_path: Path) -> None:
    with cluster(tmp_path, [f"n{number}" for number in range(MEMBERS)]) as town:
        town.nodes[0].start()
        town.nodes[0].wait_ready()
        found = trio.run(measure, town, REPORTS)
    held = found["rss_mb"]
    assert isinstance(held, list)
    assert held[-1] <= FULL_MB_MAX, found
    assert held[-1] - held[3 * len(held) // 4] <= GROWTH_MB_MAX, found
