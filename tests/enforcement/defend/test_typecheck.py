"""Rules against the tools that are pinned: what would err is found at load."""

import pytest

from enforcement.defend.policy import Policy
from enforcement.defend.typecheck import Declared, check_types, find_unread
from enforcement.mcp.strictjson import Json
from gossip.errors import UserError

SCHEMA: Json = {
    "type": "object",
    "properties": {
        "query": {"type": "string"},
        "limit": {"type": ["integer", "null"]},
        "price": {"type": "number"},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "shop": {"type": "object", "properties": {"id": {"type": "integer"}}},
    },
}
TOOL = Declared("sql", "read", SCHEMA)


def load(condition: str, scope: str = "principal, action, resource") -> Policy:
    return Policy.load({"p.cedar": f'@id("r") forbid({scope}) when {{ {condition} }};'})


@pytest.mark.parametrize(
    "condition",
    [
        'context.params has query && context.words.query.contains("x")',
        'context.words has query && context.words.query.contains("x")',
        'context.params has query && context.params.query like "x*"',
        "context.params has limit && context.params.limit > 3",
        'context.params has tags && context.params.tags.contains("x")',
        "context.params has shop && context.params.shop has id &&"
        " context.params.shop.id == 3",
        'context.params has absent && context.params.absent == "x"',
        "context.params has price && context.params.price > 3",
        "context.params has either && context.params.either > 3",
        'context.tags.contains("phi") && context.trust < 50 && !context.approved',
        'principal in Role::"retail" && resource.server == "sql"',
    ],
)
def test_a_rule_that_can_be_evaluated_or_not_be_judged_passes(condition: str) -> None:
    check_types(load(condition), [TOOL])


@pytest.mark.parametrize(
    "condition",
    [
        "context.params has query && context.params.query > 3",
        'context.params has limit && context.params.limit like "x*"',
        'context.params has limit && context.params.limit.contains("x")',
        "context.params has tags && context.params.tags.contains(3)",
        "context.params has shop && context.params.shop has id &&"
        ' context.params.shop.id like "x"',
        'context.trust == "high" || context.trust > 3',
        "resource.name > 3",
    ],
)
def test_a_rule_that_would_err_at_every_call_is_refused_with_its_name(
    condition: str,
) -> None:
    with pytest.raises(UserError, match=r"p\.cedar: rule `r`.*`sql/read`"):
        check_types(load(condition), [TOOL])


def test_a_rule_is_judged_only_for_tools_it_may_apply_to() -> None:
    wrong = "context.params has query && context.params.query > 3"
    other = 'principal, action, resource == Tool::"files/read"'
    check_types(load(wrong, other), [TOOL])


def test_a_parameter_that_no_tool_has_is_pointed_out() -> None:
    slip = load('context.words has qurey && context.words.qurey.contains("x")')
    assert find_unread(slip, [TOOL]) == [("r", "qurey")]
    assert find_unread(slip, []) == []
    good = load('context.words has query && context.words.query.contains("x")')
    assert find_unread(good, [TOOL]) == []
