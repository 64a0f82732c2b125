"""What all tests of links share."""

import pytest


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the larger node call soon, too."""
    monkeypatch.setattr("node.links.dialer.LARGER_WAITS_S", 0.05)
