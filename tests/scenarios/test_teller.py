"""The demo's tables: a missed bar is said to be one, in words."""

import pytest

from scenarios.demo.console import Teller


@pytest.mark.parametrize(("bar_ms", "said"), [(1.0, True), (100.0, False)])
def test_a_missed_bar_says_what_it_means(
    capsys: pytest.CaptureFixture[str], bar_ms: float, said: bool
) -> None:
    teller = Teller()
    teller.measure("refused by all five", [20.0, 30.0], bar_ms)
    teller.finish()
    out = capsys.readouterr().out
    assert ("a bar was missed: everything happened as told" in out) is said
