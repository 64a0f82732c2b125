"""The promises of ``enforcement.defend.schema``: a server's schema is an attacker's."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.defend.schema import read_schema_untrusted
from enforcement.mcp.strictjson import Json
from gossip.errors import PeerError

NAMED: dict[str, Json] = {
    "type": "object",
    "properties": {"query": {"type": "string", "maxLength": 9}},
    "required": ["query"],
    "additionalProperties": False,
}


def test_a_call_fits_or_the_fault_names_the_parameter_but_not_its_value() -> None:
    schema = read_schema_untrusted(NAMED)
    assert schema.find_fault({"query": "select"}) is None
    assert str(schema.find_fault({})).startswith("the parameters: ")
    fault = schema.find_fault({"query": "a secret beyond nine"})
    assert fault is not None
    assert fault.startswith("parameter `query`: ")
    assert "secret" not in fault


def test_a_declared_parameter_that_is_null_has_been_left_out() -> None:
    schema = read_schema_untrusted({**NAMED, "required": []})
    assert schema.find_fault({"query": None}) is None
    assert schema.find_fault({"stranger": None}) is not None
    assert read_schema_untrusted(NAMED).find_fault({"query": None}) is not None


@pytest.mark.parametrize(
    "reference",
    ["http://evil.invalid/s", "file:///etc/passwd", "other.json#/a", "#/nowhere", "x"],
)
def test_nothing_is_fetched_and_nothing_outside_is_referred_to(reference: str) -> None:
    with pytest.raises(PeerError):
        read_schema_untrusted({"properties": {"a": {"$ref": reference}}})


def doubling(depth: int) -> Json:
    """Each definition evaluates the next one twice."""
    defs: dict[str, Json] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(depth)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{depth}": {"type": "string"}}}


BOMBS: list[Json] = [
    doubling(40),
    {"$ref": "#"},
    {"allOf": [{"$ref": "#"}]},
    {
        "$defs": {"a": {"properties": {"x": {"allOf": [{"$ref": "#/$defs/a"}] * 2}}}},
        "$ref": "#/$defs/a",
    },
    {"items": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}},
    {"$dynamicRef": "#x"},
    {"type": "nonsense"},
    {"pattern": "("},
    "text",
    7,
]


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_schema_that_stalls_whoever_evaluates_it_is_refused_at_once(
    bomb: Json,
) -> None:
    began = time.perf_counter()
    with pytest.raises(PeerError):
        read_schema_untrusted(bomb)
    assert time.perf_counter() - began < 2


def test_honest_recursion_is_no_bomb() -> None:
    tree: Json = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "left": {"$ref": "#/$defs/node"},
                    "right": {"$ref": "#/$defs/node"},
                    "name": {"type": "string"},
                },
            }
        },
        "$ref": "#/$defs/node",
    }
    schema = read_schema_untrusted(tree)
    assert schema.find_fault({"left": {"right": {"name": "x"}}}) is None
    assert schema.find_fault({"left": {"right": {"name": 1}}}) is not None


def test_a_pattern_that_backtracks_does_so_within_bounds() -> None:
    schema = read_schema_untrusted({"type": "string", "pattern": r"^(?=a)(a+)+\1$"})
    began = time.perf_counter()
    assert schema.find_fault("a" * 5_000 + "b") is not None
    assert time.perf_counter() - began < 1


KEYWORDS = [
    "type",
    "$ref",
    "allOf",
    "items",
    "properties",
    "pattern",
    "a",
    "not",
    "$defs",
    "anyOf",
    "additionalProperties",
    "required",
    "if",
    "then",
]
schemas: st.SearchStrategy[Json] = st.recursive(
    st.sampled_from(["string", "#", "#/a", "(", 1, -1, None, True, [], {}]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(schemas, schemas)
def test_any_schema_is_accepted_or_a_peer_error(source: Json, value: Json) -> None:
    try:
        schema = read_schema_untrusted(source)
    except PeerError:
        return
    schema.find_fault(value)
