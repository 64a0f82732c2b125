"""No look for garbage holds up the loop for long."""

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from node.garbage import THRESHOLDS, collect_rarely


@pytest.fixture
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("as_before")
def test_what_lives_is_set_aside_and_the_rest_looked_at_rarely() -> None:
    collect_rarely()
    assert gc.get_threshold() == THRESHOLDS
    assert gc.get_freeze_count() > 10_000


def test_the_daemon_looks_rarely_and_not_at_all_while_it_starts() -> None:
    code = (
        "import gc; from unittest import mock; from node.cli import run;"
        "import node.daemon; looked = [];"
        "run.read_config = mock.Mock();"
        "node.daemon.Daemon = lambda _: looked.append(gc.isenabled()) or mock.Mock();"
        "run.trio = mock.Mock("
        "run=lambda *_: print(looked, gc.isenabled(), gc.get_threshold()));"
        "run.run.callback('config.toml', None)"
    )
    asked = [sys.executable, "-c", code]
    said = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == f"[False] True {THRESHOLDS}"
