"""Who calls in tests of the gate: one small cluster a module, and its clerk."""

import pytest

from tests.support.sessions import Agent, Town


@pytest.fixture(scope="module")
def town() -> Town:
    return Town()


@pytest.fixture(scope="module")
def clerk(town: Town) -> Agent:
    return town.agent("clerk-1", "retail")
