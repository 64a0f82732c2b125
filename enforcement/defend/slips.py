"""Slips of the pen in a policy: names of roles, servers and methods nobody has.

A rule about `Role::"retial"` is good Cedar and holds for nobody. Only a hint: a role
may be granted tomorrow, and a wrapped server is called what its user calls it.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from difflib import get_close_matches

from enforcement.defend.policy import REVEAL, Policy
from enforcement.defend.rules import Entity, Node
from enforcement.mcp.jsonrpc import METHODS

_WHAT: Mapping[str, str] = {
    "Action": "method",
    "Role": "role",
    "Server": "server",
    "Tool": "server",
}


def find_slips(
    policy: Policy, roles: AbstractSet[str], servers: AbstractSet[str]
) -> list[tuple[str, str]]:
    """(rule, sentence) for each name in a rule that is not among those known."""
    known = {"Action": METHODS | {REVEAL}, "Role": roles, "Server": servers}
    known["Tool"] = servers
    found = []
    for rule in policy.rules.values():
        named = {_named(*entity) for entity in _entities(dict(rule.source))}
        for kind, name in sorted(named):
            if kind in known and name not in known[kind]:
                found.append((rule.id, _sentence(_WHAT[kind], name, known[kind])))
    return list(dict.fromkeys(found))


def _named(kind: str, name: str) -> Entity:
    return kind, name.partition("/")[0] if kind == "Tool" else name


def _sentence(what: str, name: str, known: AbstractSet[str]) -> str:
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"names the {what} `{name}`, which nobody here has{hint}"


def _entities(node: Node) -> Iterator[Entity]:
    """Every entity that a rule in Cedar's JSON form names."""
    if isinstance(node, list):
        for item in node:
            yield from _entities(item)
    elif isinstance(node, dict):
        kind, name = node.get("type"), node.get("id")
        if isinstance(kind, str) and isinstance(name, str) and len(node) == 2:
            yield kind, name
            return
        for item in node.values():
            yield from _entities(item)
