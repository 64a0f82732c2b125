"""kill -9 at any moment: nothing acknowledged is lost, no feed forks, links come back."""

import random
from pathlib import Path
from statistics import median

import pytest

from tests.bench.crash import Turn, crash

pytestmark = pytest.mark.live
RELINK_S = 3.0
"""From the start of the process, where nobody else wants the processor: tests share
their machine. `make bench-crash` shows what it takes in all."""


def relinked(turns: list[Turn]) -> float:
    return median(turn.alone_s for turn in turns)


def test_three_crashes(tmp_path: Path) -> None:
    turns = crash(tmp_path, 3, seed=random.randrange(2**32))
    assert sum(turn.said for turn in turns) > 0
    assert relinked(turns) <= RELINK_S


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_two_hundred_crashes(tmp_path: Path) -> None:
    turns = crash(tmp_path, 200, seed=random.randrange(2**32))
    assert sum(turn.said for turn in turns) > 0
    assert relinked(turns) <= RELINK_S
    assert sum(turn.alone_s <= RELINK_S for turn in turns) >= 198
