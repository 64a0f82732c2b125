"""Every scenario of the library holds, reduced to the size its file names."""

import pytest

from scenarios.reading import library, load
from scenarios.run import run

# What the core cannot do yet; each mark goes when it can.
BEYOND = {
    "crash_80": "the view waits 20 s before it seeks other peers",
    "crash_90": "the view waits 20 s before it seeks other peers",
    "partition_wide": "a view that has links enough never looks for the other half",
}


@pytest.mark.parametrize("name", sorted(library()))
def test_it_holds(name: str, request: pytest.FixtureRequest) -> None:
    if name in BEYOND:
        request.applymarker(pytest.mark.xfail(reason=BEYOND[name], strict=True))
    scenario = load(name)
    verdict = run(scenario.reduced(), scenario.seeds[0])
    assert verdict.passed, verdict.failures


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(library().keys() - BEYOND.keys()))
@pytest.mark.parametrize("seed", range(100, 108))
def test_it_holds_with_other_seeds_too(name: str, seed: int) -> None:
    verdict = run(load(name).reduced(), seed)
    assert verdict.passed, verdict.failures
