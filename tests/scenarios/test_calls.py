"""MCP calls in simulations pass the production gates: policy denies, signatures convict."""

import attrs
import pytest

from gossip.errors import PeerError, UserError
from scenarios.calling import BlindPolicy
from scenarios.evidence import ProofReader, forge, load_policy
from scenarios.people import DAWN_MS, found, person
from scenarios.reading import parse
from scenarios.run import Verdict, run
from scenarios.script import Scenario
from scenarios.toy import ToySuite

TEXT = """
title = "calls"
length_s = 20
rules = '''
@id("all")
permit(principal, action, resource);
@id("no-drop") @severity("8")
forbid(principal, action == Action::"tools/call", resource)
when { context.params has query && context.words.query.contains("drop") };
'''
[nodes]
honest = 5
attacker = 1
[[story]]
at_s = 2
who = "every honest"
does = "call"
whom = "honest-1"
tool = "query"
role = "clerk"
params = { query = "select 1" }
every_s = 0.5
[expect]
never = ["quarantine honest", "deny honest"]
eventually = ["ledgers agree", "standings agree"]
[bars]
served_percent = 100
forbidden_served = 0
false_quarantines = 0
"""
FORBIDDEN = """
[[story]]
at_s = 5
who = "{who}"
does = "call"
whom = "honest-1"
tool = "query"
role = "clerk"
params = {{ query = "DROP everything" }}
forbidden = true
"""


def told(more: str = "") -> Scenario:
    return parse(TEXT.replace("[expect]", f"{more}\n[expect]"), "calls")


def passed(scenario: Scenario) -> Verdict:
    verdict = run(scenario, 1)
    assert verdict.passed, verdict.failures
    return verdict


def test_what_policy_permits_is_answered_within_two_round_trips() -> None:
    verdict = passed(told())
    assert verdict.figures["call_p99_ms"] < 20


def test_an_honest_gate_stops_its_own_agent_and_convicts_nobody() -> None:
    verdict = passed(told(FORBIDDEN.format(who="honest-3")))
    assert verdict.figures["forbidden_served"] == 0
    assert "cut_percent" not in verdict.figures


def test_a_gate_that_signs_anything_convicts_its_node_and_its_agent() -> None:
    scenario = told(FORBIDDEN.format(who="attacker-0"))
    expect = attrs.evolve(
        scenario.expect,
        eventually=("deny attacker-0", "quarantine guilty"),
        bars=(*scenario.expect.bars, ("cut_percent", 100.0), ("cut_p99_ms", 1000.0)),
    )
    passed(attrs.evolve(scenario, expect=expect))


def test_a_gate_that_lets_everything_in_is_seen_in_the_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The figure can be other than 0: it is not measured at the gates themselves."""

    def load_blind(rules: str) -> BlindPolicy:
        real = load_policy(rules)
        return BlindPolicy(digest=real.digest, rules=real.rules, secret=real.secret)

    monkeypatch.setattr("scenarios.calling.load_policy", load_blind)
    verdict = run(told(FORBIDDEN.format(who="honest-3")), 1)
    assert verdict.figures["forbidden_served"] == 1
    assert not verdict.passed


ROTATE = """
[[story]]
at_s = 4
who = "everybody"
does = "rotate"
every_s = 3
"""


def test_keys_that_rotate_under_calls_deny_none_of_them() -> None:
    passed(told(ROTATE))


CRASH = """
[[story]]
at_s = 6.25
who = "honest-1"
does = "crash"
for_s = 3
"""


def test_a_server_that_was_away_is_called_again() -> None:
    verdict = run(told(CRASH), 1)
    assert 75 < verdict.figures["served_percent"] < 95
    assert verdict.figures["false_quarantines"] == 0


def test_calls_repeat_to_the_bit() -> None:
    assert run(told(ROTATE), 3) == run(told(ROTATE), 3)


@pytest.mark.parametrize(
    ("was", "becomes", "complaint"),
    [
        ("permit(principal", "permitt(principal", "line 4: rules: "),
        ('{ query = "select 1" }', "{ query = [1] }", "story.1.params: `query` must"),
        ('tool = "query"', "", "story.1: `call` needs `tool`"),
    ],
)
def test_a_mistake_is_told_with_line_and_key(
    was: str, becomes: str, complaint: str
) -> None:
    with pytest.raises(UserError) as wrong:
        parse(TEXT.replace(was, becomes, 1), "calls.toml")
    assert complaint in str(wrong.value)


class Credulous(ToySuite):
    """Believes every signature."""

    def verify(self, *_: object) -> None:
        """Yes."""


def test_only_its_signatures_keep_a_forged_proof_from_convicting() -> None:
    suite, policy = ToySuite(1), load_policy("")
    victim, liar = person(suite, "honest-0"), person(suite, "liar-0")
    roster = found(suite, [victim, liar])
    proof = forge(suite, roster, policy, victim, liar, DAWN_MS)

    believed = ProofReader(Credulous(), roster, policy)(proof)
    assert believed is not None
    assert victim.node in {subject.id for subject in believed.convicts}
    for _ in range(2):  # it is remembered, and still proves nothing
        with pytest.raises(PeerError, match="signature"):
            ProofReader(suite, roster, policy)(proof)
