"""The swarm finds planted bugs, and boils a failure down to what it takes."""

import re
from collections.abc import Callable
from typing import TypeAlias

import attrs
import pytest

from enforcement.decide.tally import Tally
from enforcement.defend.policy import Call, Policy
from enforcement.detect.pins import Manifest
from enforcement.judging import Judge, Verified
from gossip.intake import Intake
from gossip.membership.identity import Chain
from gossip.membership.roster import Roster
from gossip.pen import Pen
from gossip.spread.sync import Sync
from gossip.suite import Suite
from gossip.units import UnixMs
from scenarios.evidence import ProofReader
from scenarios.reading import parse
from scenarios.run import run
from scenarios.script import Scenario
from scenarios.swarm import failure, random_scenario, shrink
from scenarios.toy import ToySuite
from scenarios.writing import write_scenario

TRIES = 80


@pytest.mark.parametrize("seed", range(12))
def test_inside_the_bounds_everything_holds(seed: int) -> None:
    verdict = run(random_scenario(seed), seed)
    assert verdict.passed, verdict.failures


def plant_a_loud_voice(patch: pytest.MonkeyPatch) -> None:
    """One voice counts for twenty, and is enough."""
    real = Tally.sum
    patch.setattr(Tally, "sum", lambda tally, at_ms: 20 * real(tally, at_ms))


def plant_blind_trust_in_proofs(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the signature of a proof."""

    def believing(_suite: Suite, roster: Roster, policy: Policy) -> ProofReader:
        return ProofReader(Credulous(), roster, policy)

    patch.setattr("scenarios.world.ProofReader", believing)


def plant_deafness_to_forks(patch: pytest.MonkeyPatch) -> None:
    """Two stories under one number are shrugged off."""
    patch.setattr(Intake, "_recall", lambda _self, _batch: [])


def plant_lazy_reconciliation(patch: pytest.MonkeyPatch) -> None:
    """What is found missing is never asked for."""
    patch.setattr(Sync, "pump", lambda _self, _now: [])


def plant_a_silent_rotation(patch: pytest.MonkeyPatch) -> None:
    """The next key is used without being introduced."""

    def rotate(pen: Pen, chain: Chain, _now: int) -> list[object]:
        pen._chain = chain
        return []

    patch.setattr(Pen, "rotate", rotate)


class Credulous(ToySuite):
    """Believes every signature."""

    def verify(self, *_: object) -> None:
        """Yes."""


def plant_an_open_gate(patch: pytest.MonkeyPatch) -> None:
    """Whoever signs what it asks of another node may have it."""
    real = Judge._follow_policy

    def follow(
        judge: Judge,
        call: Call,
        verified: Verified | None,
        seen: bytes,
        now_ms: UnixMs,
        manifest: Manifest | None = None,
    ) -> None:
        if verified is None:
            real(judge, call, verified, seen, now_ms, manifest)

    patch.setattr(Judge, "_follow_policy", follow)


Plant: TypeAlias = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    ("plant", "symptom"),
    [
        (plant_a_loud_voice, "never `"),
        (plant_blind_trust_in_proofs, "never `"),
        (plant_deafness_to_forks, "`quarantine any guilty` did not"),
        (plant_lazy_reconciliation, "(agree|everything)` did not"),
        (plant_an_open_gate, "`forbidden_served` is"),
        (plant_a_silent_rotation, "(agree|everything)` did not"),
    ],
)
def test_a_planted_bug_is_found(
    plant: Plant, symptom: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    for seed in range(TRIES):
        told = " ".join(run(random_scenario(seed), seed).failures)
        if re.search(symptom, told):
            return
    raise AssertionError(f"not found by {TRIES} scenarios")


def test_a_failure_shrinks_to_what_it_takes() -> None:
    def judge(scenario: Scenario, _seed: int) -> str | None:
        crashes = any(step.does == "crash" for step in scenario.story)
        return "it crashes" if crashes and scenario.size >= 3 else None

    seed = next(s for s in range(100) if judge(random_scenario(s), s))
    small = shrink(random_scenario(seed), seed, judge)
    assert [step.does for step in small.story] == ["crash"]
    assert small.size == max(3, 1 + int(small.story[0].who[0].text.split("-")[1]))


def test_whatever_shrinks_can_be_read_again() -> None:
    for seed in range(20):
        small = shrink(random_scenario(seed), seed, lambda *_: "always")
        assert parse(write_scenario(small), "small") == small


def test_failures_that_read_alike_are_one_failure() -> None:
    scenario = random_scenario(11)
    assert failure(scenario, 11) is None
    strict = attrs.evolve(scenario.expect, bars=(("settled_s", -1.0),))
    failing = attrs.evolve(scenario, expect=strict)
    assert failure(failing, 1) == failure(failing, 2)
    assert failure(failing, 1) is not None


def test_the_toy_is_a_suite() -> None:
    suite: Suite = ToySuite()
    assert suite.provider == "toy"
