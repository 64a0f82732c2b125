"""No check of the official suites that passes directly is lost on the way."""

import json
import subprocess
import sys

import pytest

from tests.conformance.__main__ import COMMANDS, OPTIONS, ROOT

pytestmark = [pytest.mark.live, pytest.mark.timeout(1_200)]

LEAST = {
    "sessions": 44,
    "stateless": 194,
    "sessions-clients": 260,
    "stateless-clients": 430,
}


def keeps_every_check(suite: str, *paths: str) -> None:
    """Run a suite, or say why it cannot be run."""
    asked = [word for path in paths for word in ("--path", path)]
    done = subprocess.run(
        (sys.executable, "-m", "tests.conformance", "--suite", suite, *asked),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    if told and "skipped" in told[0]:
        pytest.skip(told[0]["skipped"])
    assert [line["path"] for line in told] == [*paths]
    for line in told:
        assert line["lost"] == []
        assert line["direct"] >= LEAST[suite]
        assert line["through"] >= LEAST[suite]
    assert done.returncode == 0


def test_one_server_keeps_all_its_checks_through_the_gate() -> None:
    keeps_every_check("sessions", "gate")


@pytest.mark.slow
@pytest.mark.parametrize("suite", LEAST)
def test_no_check_is_lost(suite: str) -> None:
    keeps_every_check(suite, "gate", "mesh")


@pytest.mark.slow
@pytest.mark.parametrize("suite", OPTIONS)
def test_no_check_is_lost_before_a_command(suite: str) -> None:
    keeps_every_check(suite, *COMMANDS)
