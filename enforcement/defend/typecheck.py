"""Policy against the pinned tools: rules that would err, or read what no tool has.

From each tool's JSON Schema follows a Cedar schema of its calls, and Cedar's validator
says whether a rule that may apply is well typed for it. What a schema leaves open (a
number that may have a fraction, a union) is not judged: at a call it is, as ever.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Final

import attrs
import cedarpy

from enforcement.defend.facts import Path
from enforcement.defend.policy import Policy
from enforcement.defend.rules import Rule
from enforcement.defend.schema import find_target
from enforcement.mcp.strictjson import Json
from gossip.errors import PeerError, UserError

_DEPTH_MAX: Final = 8
_SET_OF_WORDS: Final[Json] = {"type": "Set", "element": {"type": "String"}}
_PLAIN: Final = {"string": "String", "integer": "Long", "boolean": "Boolean"}


@attrs.frozen
class Declared:
    """A tool and the schema of its parameters, as pinned."""

    server: str
    tool: str
    schema: Json = attrs.field(repr=False)


def check_types(policy: Policy, tools: Iterable[Declared]) -> None:
    """Check every rule against every tool that it may apply to.

    Raises:
        UserError: a rule would err at each call that has what it reads.
    """
    for tool in tools:
        for rule in policy.rules.values():
            fault = find_fault(rule, tool)
            if fault is not None:
                raise UserError(
                    f"{rule.file}: rule `{rule.id}` does not fit the tool"
                    f" `{tool.server}/{tool.tool}`: {fault}"
                )


def find_unread(policy: Policy, tools: Iterable[Declared]) -> list[tuple[str, str]]:
    """(rule, parameter) where a rule reads what no tool in its scope declares.

    Perhaps a slip of the pen. Not an error: tools may take what they do not declare.
    """
    listed = [*tools]
    found: list[tuple[str, str]] = []
    for rule in policy.rules.values():
        scope = [tool for tool in listed if _may_apply(rule, tool)]
        names = sorted({read.path[0] for read in rule.reads if read.path})
        known = {name for tool in scope for name in _properties(tool.schema)}
        if scope:
            found += [(rule.id, name) for name in names if name not in known]
    return found


def find_fault(rule: Rule, tool: Declared) -> str | None:
    """Why ``rule`` would err on calls of ``tool``; None if it would not, or may not."""
    if not _may_apply(rule, tool):
        return None
    params = _record(tool.schema, tool.schema, _DEPTH_MAX)
    if params is None or any(_is_open(params, read.path) for read in rule.reads):
        return None
    text = cedarpy.policies_from_json_str(
        json.dumps(
            {
                "templates": {},
                "staticPolicies": {rule.id: rule.source},
                "templateLinks": [],
            }
        )
    )
    result = cedarpy.validate_policies(text, json.dumps(_schema(params)))
    if result.validation_passed:
        return None
    said = str(result.errors[0])
    return said.partition("`, ")[2] or said


def _may_apply(rule: Rule, tool: Declared) -> bool:
    name = ("Tool", f"{tool.server}/{tool.tool}")
    return rule.may_apply("tools/call", name, [("Server", tool.server)])


def _properties(schema: Json) -> Mapping[str, Json]:
    held = schema.get("properties") if isinstance(schema, dict) else None
    return held if isinstance(held, dict) else {}


def _record(root: Json, schema: Json, depth: int) -> dict[str, Json] | None:
    """The attributes of an object's schema, by name; None where it does not say."""
    for _ in range(_DEPTH_MAX):
        if isinstance(schema, dict) and "$ref" in schema:
            try:
                schema = find_target(root, schema["$ref"])
            except PeerError:
                return None
    if not isinstance(schema, dict) or depth == 0:
        return None
    if any(key in schema for key in ("$ref", "allOf", "anyOf", "oneOf", "if", "not")):
        return None
    return {
        name: _type(root, value, depth - 1)
        for name, value in _properties(schema).items()
    }


def _type(root: Json, schema: Json, depth: int) -> Json:
    """A Cedar type; None where the schema leaves it open."""
    if not isinstance(schema, dict):
        return None
    kind = schema.get("type")
    if isinstance(kind, list):
        kinds = [k for k in kind if k != "null"]
        kind = kinds[0] if len(kinds) == 1 else None
    if kind == "object" and schema.get("properties"):
        inner = _record(root, schema, depth)
        return None if inner is None else _as_record(inner)
    if kind == "array":
        element = _type(root, schema.get("items"), depth)
        return None if element is None else {"type": "Set", "element": element}
    return {"type": _PLAIN[kind]} if isinstance(kind, str) and kind in _PLAIN else None


def _as_record(attributes: Mapping[str, Json]) -> Json:
    """A record whose every attribute may be absent; those left open are left out."""
    shown: dict[str, Json] = {
        name: {**kind, "required": False}
        for name, kind in attributes.items()
        if isinstance(kind, dict)
    }
    return {"type": "Record", "attributes": shown}


def _is_open(attributes: Mapping[str, Json], path: Path) -> bool:
    """Whether a rule reads what a tool may take but does not say how."""
    if not path or path[0] not in attributes:
        return not path
    kind = attributes[path[0]]
    if not isinstance(kind, dict):
        return True
    inner = kind.get("attributes")
    return len(path) > 1 and isinstance(inner, dict) and _is_open(inner, path[1:])


def _words(attributes: Mapping[str, Json]) -> Json:
    """The same tree, each leaf the set of words in it.

    Required, although a call may lack them: a rule asks `context.params has` for
    both, which loading a policy insists on and Cedar's validator cannot relate.
    """
    shown: dict[str, Json] = {}
    for name, kind in attributes.items():
        if isinstance(kind, dict):
            inner = kind.get("attributes")
            leaf = _words(inner) if isinstance(inner, dict) else _SET_OF_WORDS
            assert isinstance(leaf, dict), "a type is a table"
            shown[name] = {**leaf, "required": True}
    return {"type": "Record", "attributes": shown}


def _schema(params: Mapping[str, Json]) -> Json:
    text: Json = {"type": "String"}
    named: Json = {"name": text, "server": text}
    context: Json = {
        "params": _as_record(params),
        "words": _words(params),
        "tags": _SET_OF_WORDS,
        "level": text,
        "trust": {"type": "Long"},
        "approved": {"type": "Boolean"},
        "listed": {"type": "Boolean"},
    }
    return {
        "": {
            "entityTypes": {
                "Agent": {
                    "memberOfTypes": ["Role"],
                    "shape": {
                        "type": "Record",
                        "attributes": {"name": text, "node": text},
                    },
                },
                "Role": {},
                "Server": {},
                "Tool": {
                    "memberOfTypes": ["Server"],
                    "shape": {"type": "Record", "attributes": named},
                },
                "Tag": {
                    "memberOfTypes": ["Tool", "Server"],
                    "shape": {"type": "Record", "attributes": named},
                },
            },
            "actions": {
                "tools/call": {
                    "appliesTo": {
                        "principalTypes": ["Agent"],
                        "resourceTypes": ["Tool"],
                        "context": {"type": "Record", "attributes": context},
                    }
                }
            },
        }
    }
