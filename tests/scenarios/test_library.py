"""Every scenario of the library holds, reduced to the size its file names."""

import pytest

from scenarios.reading import library, load
from scenarios.run import run

HELD = [name for name in library() if not load(name).beyond]


@pytest.mark.parametrize("name", sorted(library()))
def test_it_holds(name: str, request: pytest.FixtureRequest) -> None:
    scenario = load(name)
    if scenario.beyond:
        # Strict: whoever makes it pass takes the word out of the file.
        request.applymarker(pytest.mark.xfail(reason=scenario.beyond, strict=True))
    verdict = run(scenario.reduced(), scenario.seeds[0])
    assert verdict.passed, verdict.failures


@pytest.mark.slow
@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize("seed", range(100, 108))
def test_it_holds_with_other_seeds_too(
    name: str, seed: int, request: pytest.FixtureRequest
) -> None:
    if name == "droppers_50":
        reason = "one of fifty nodes linked to droppers alone is more than 1 % late"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=False))
    verdict = run(load(name).reduced(), seed)
    assert verdict.passed, verdict.failures
