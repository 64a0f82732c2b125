"""Calls that look alike to the rules are decided alike, and no others."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcement import limits
from enforcement.defend import policy as policies
from enforcement.defend.asking import asked_words
from enforcement.defend.policy import Call, Decision, Policy
from enforcement.mcp.jsonrpc import Reason
from enforcement.mcp.strictjson import Json
from tests.support.sessions import PERMIT, Agent, Town

TOOL = 'action == Action::"tools/call"'
TOWN = Town()
AGENTS = (TOWN.agent("a", "clerk"), TOWN.agent("b", "admin"))


def rule(number: int, condition: str) -> str:
    return (
        f'@id("r{number}") forbid(principal, {TOOL}, resource) when {{ {condition} }};'
    )


CONDITIONS = (
    'context.params has q && context.words.q.contains("drop")',
    'context.params has q && context.words.q.containsAny(["drop", "alter"])',
    'context.params has q && context.words.q.containsAll(["drop", "table"])',
    'context.params has q && !(context.words.q.contains("select"))',
    "context.params has q && context.words.q.isEmpty()",
    'context.params has q && ["drop", "x"].containsAll(context.words.q)',
    "context.params has q && context.words.q.contains(5)",
    'context.params has q && context.words.q == ["drop"]',
    'context.params has o && context.params.o has q && context.words.o.q.contains("x")',
    'context.params has o && context.words.o.contains("drop")',
    "context.params has t && context.words.t.contains(context.params.t)",
    'context.params has t && context.params.t == "drop"',
    'principal in Role::"admin" && context.params has t',
    "context.trust < 50 && context.params has t",
)
words = st.sampled_from(["drop", "DROP", "table", "select", "x", "al\u200bter", "5"])
texts = st.lists(words, max_size=3).map(" ".join)
values: st.SearchStrategy[Json] = st.one_of(
    texts,
    st.lists(texts, max_size=2),
    st.integers(0, 5),
    st.none(),
    st.just({"q": "x"}),
)
arguments = st.dictionaries(st.sampled_from("qto"), values, max_size=3)
calls = st.tuples(st.sampled_from(AGENTS), arguments, st.sampled_from([40, 60]))


def loaded(conditions: list[str]) -> Policy:
    rules = "".join(rule(n, condition) for n, condition in enumerate(conditions))
    return Policy.load({"p.cedar": PERMIT + rules})


def plainly(policy: Policy, call: Call) -> Decision:
    """What Cedar says of the call with everything that any rule reads."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(policies, "asked_words", lambda rules: {})
        return forgetful(policy).decide(call)


def forgetful(policy: Policy) -> Policy:
    """The same policy, remembering nothing."""
    return Policy(digest=policy.digest, rules=policy.rules, secret=policy.secret)


@given(
    st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=4),
    st.lists(calls, min_size=1, max_size=6),
)
@settings(max_examples=150, deadline=None)
def test_what_is_not_asked_for_changes_no_decision(
    conditions: list[str], said: list[tuple[Agent, dict[str, Json], int]]
) -> None:
    policy = loaded(conditions)
    for agent, params, trust in said:
        call = Call(
            principal=agent.principal,
            server="sql",
            method="tools/call",
            tool="t",
            params={"name": "t", "arguments": params},
            senses={"trust": trust},
        )
        assert policy.decide(call) == plainly(policy, call)


def test_words_that_are_only_looked_for_are_told_apart_by_these() -> None:
    policy = loaded([CONDITIONS[0], CONDITIONS[1]])
    rules = [*policy.rules.values()]

    assert asked_words(rules) == {("q",): {"drop", "alter"}}


@pytest.mark.parametrize("other", [4, 5, 6, 7])
def test_words_that_are_searched_otherwise_are_all_shown(other: int) -> None:
    policy = loaded([CONDITIONS[0], CONDITIONS[other]])

    assert asked_words([*policy.rules.values()]) == {}


def test_words_within_others_are_all_shown() -> None:
    policy = loaded([CONDITIONS[8], CONDITIONS[9]])

    assert asked_words([*policy.rules.values()]) == {}


def test_answers_are_forgotten_before_they_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "ANSWERS_MAX", 3)
    policy = loaded([CONDITIONS[11]])
    for n in range(10):
        call = Call(
            principal=AGENTS[0].principal,
            server="sql",
            method="tools/call",
            tool="t",
            params={"name": "t", "arguments": {"t": f"text {n}" if n < 9 else "drop"}},
        )
        expected = Reason.ALLOWED if n < 9 else Reason.RULE
        assert policy.decide(call).reason is expected
    assert len(policy._answers) <= 3


def test_what_is_too_long_to_remember_is_judged_each_time() -> None:
    policy = loaded([CONDITIONS[11]])
    call = Call(
        principal=AGENTS[0].principal,
        server="sql",
        method="tools/call",
        tool="t",
        params={"name": "t", "arguments": {"t": "y" * limits.ANSWER_CONTEXT_CHARS_MAX}},
    )

    assert policy.decide(call).allow
    assert policy._answers == {}
