"""Both providers, where both are; a run that expects liboqs fails without it."""

import faulthandler
import os
from pathlib import Path

import pytest

from node.keys.suites.hybrid import HybridSuite
from node.keys.suites.loading import LiboqsSuite
from node.keys.suites.openssl import OpensslSuite
from node.keys.suites.probe import Missing, find_liboqs

EXPECTED = "PICKET_EXPECT_LIBOQS"


@pytest.fixture(autouse=True)
def _long_runs_are_not_dumped(request: pytest.FixtureRequest) -> None:
    """Dumping the stack of a running thread can crash it, and a slow test is no hang.

    pytest-timeout still ends one that is.
    """
    if request.node.get_closest_marker("slow") is not None:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def openssl() -> HybridSuite:
    return OpensslSuite()


@pytest.fixture(scope="session")
def liboqs_path() -> Path:
    found = find_liboqs()
    if isinstance(found, Missing):
        if os.environ.get(EXPECTED):
            pytest.fail(found.why)
        pytest.skip(found.why)
    return found.path


@pytest.fixture(scope="session")
def liboqs(liboqs_path: Path) -> HybridSuite:
    return LiboqsSuite(liboqs_path)


@pytest.fixture(scope="session", params=["openssl", "liboqs"])
def suite(request: pytest.FixtureRequest) -> HybridSuite:
    chosen = request.getfixturevalue(str(request.param))
    assert isinstance(chosen, HybridSuite)
    return chosen


@pytest.fixture(scope="session", params=["openssl", "liboqs"])
def other(request: pytest.FixtureRequest) -> HybridSuite:
    chosen = request.getfixturevalue(str(request.param))
    assert isinstance(chosen, HybridSuite)
    return chosen
