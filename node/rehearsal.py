"""Rehearsal: calls that nobody makes, judged by a policy; for its tests and questions.

A case is a table::

    agent = "till-3"  roles = ["retail"]  node = "branch"
    server = "sql"    tool = "read_query"          or  method = "resources/read"
    arguments = { query = "…" }                    or  params = { uri = "…" }
    tags = ["pci"]    trust = 100   approved = false   listed = true   reveal = "phi"
    expect = "deny"   rule = "retail-no-system-config"
"""

import json
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final, cast

import attrs

from enforcement.defend.facts import Fact
from enforcement.defend.policy import REVEAL, Call, Decision, Policy
from enforcement.limits import CLIENT_KEYS_MAX
from enforcement.mcp.strictjson import Json, MalformedError, read_json_untrusted
from enforcement.principal import Principal
from gossip.errors import UserError
from gossip.membership.identity import AgentCert, Chain
from gossip.units import ID_BYTES, UNIX_MS_MAX, AgentId, KeyId, NodeId, UnixMs
from node.config import read_text

_KEYS: Final = {
    "agent": str,
    "agent_id": str,
    "approved": bool,
    "arguments": dict,
    "expect": str,
    "level": str,
    "listed": bool,
    "method": str,
    "name": str,
    "node": str,
    "params": dict,
    "reveal": str,
    "roles": list,
    "rule": str,
    "server": str,
    "tags": list,
    "tool": str,
    "trust": int,
}


@attrs.frozen
class Case:
    """One call and what its author expects; empty if nothing."""

    name: str
    call: Call
    expect: str
    rule: str

    def fault(self, decision: Decision) -> str | None:
        """What is otherwise than expected."""
        said = "allow" if decision.allow else "deny"
        if self.expect and said != self.expect:
            by = f" by `{decision.rule}`" if decision.rule else ""
            return f"expected {self.expect}, got {said}{by} ({decision.reason.value})"
        if self.rule and decision.rule != self.rule:
            return f"expected rule `{self.rule}`, got `{decision.rule or '-'}`"
        return None


def read_cases(path: Path) -> list[Case]:
    """Read a file of ``[[case]]`` tables (TOML), or of one call or a list (JSON).

    Raises:
        UserError: one sentence that names the file and the case.
    """
    text = read_text(path, "the file of cases")
    listed: object
    try:
        if path.suffix == ".toml":
            listed = tomllib.loads(text, parse_float=Decimal).get("case")
        else:
            read = read_json_untrusted(text.encode(), CLIENT_KEYS_MAX)
            listed = read if isinstance(read, list) else [read]
    except (tomllib.TOMLDecodeError, MalformedError) as wrong:
        raise UserError(f"{path}: cannot be read: {wrong}") from None
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{path}: holds no cases; write each under `[[case]]`")
    return [_case(f"{path}: case {n}", item) for n, item in enumerate(listed, 1)]


def _case(where: str, item: object) -> Case:
    if not isinstance(item, dict):
        raise UserError(f"{where}: is no table")
    table = cast("dict[str, Json]", item)
    if table.get("jsonrpc") == "2.0":  # a request as it was sent
        table = {k: v for k, v in table.items() if k not in ("jsonrpc", "id")}
        params = table.get("params")
        if table.get("method") == "tools/call" and isinstance(params, dict):
            table = {"tool": params.get("name"), **table}
    for key, value in table.items():
        kind = _KEYS.get(key)
        if kind is None:
            raise UserError(
                f"{where}: `{key}` is unknown; known are {', '.join(_KEYS)}"
            )
        if not isinstance(value, kind):
            raise UserError(f"{where}: `{key}` must be a {kind.__name__}")
    expect = str(table.get("expect", ""))
    if expect not in ("", "allow", "deny"):
        raise UserError(f"{where}: `expect` is `allow` or `deny`")
    return Case(
        name=str(table.get("name", where.rpartition(": ")[2])),
        call=_call(table),
        expect=expect,
        rule=str(table.get("rule", "")),
    )


def _call(table: Mapping[str, Json]) -> Call:
    tool, server = str(table.get("tool", "")), str(table.get("server", "server"))
    method = str(table.get("method", "tools/call" if tool else "ping"))
    params = cast("dict[str, Json] | None", table.get("params"))
    if method == "tools/call" and params is None:
        params = {"name": tool, "arguments": table.get("arguments", {})}
    senses: dict[str, Fact] = {
        "approved": bool(table.get("approved", False)),
        "level": str(table.get("level", "pqc-lattice-high")),
        "listed": bool(table.get("listed", True)),
        "tags": [str(tag) for tag in cast("list[Json]", table.get("tags", []))],
        "trust": cast("int", table.get("trust", 100)),
    }
    tag = str(table.get("reveal", ""))
    return Call(
        principal=stand_in(
            str(table.get("agent", "agent")),
            tuple(str(role) for role in cast("list[Json]", table.get("roles", []))),
            str(table.get("node", "node")),
            str(table.get("agent_id", "")),
        ),
        server=server,
        method=REVEAL if tag else method,
        tool=tool,
        params=params,
        tag=tag,
        senses=senses,
    )


def stand_in(
    name: str, roles: tuple[str, ...], node: str, agent_id: str = ""
) -> Principal:
    """An agent for a rehearsal: nobody checks its papers."""
    roles = tuple(sorted(set(roles)))
    try:
        agent = AgentId(bytes.fromhex(agent_id) or bytes(ID_BYTES))
    except ValueError:
        raise UserError(
            f"`agent_id` is `{agent_id}`, which is not hex digits"
        ) from None
    chain = Chain(
        node=NodeId(bytes(ID_BYTES)),
        operational=b"",
        not_before_ms=UnixMs(0),
        not_after_ms=UnixMs(UNIX_MS_MAX),
        encoded=b"",
    )
    cert = AgentCert(
        agent=agent,
        public_key=b"",
        node=chain.node,
        name=name,
        roles=roles,
        not_before_ms=UnixMs(0),
        not_after_ms=UnixMs(UNIX_MS_MAX),
        issuer=KeyId(bytes(ID_BYTES)),
        encoded=json.dumps([name, roles, agent_id]).encode(),
    )
    return Principal(cert=cert, chain=chain, node_name=node)


def differences(old: Policy, new: Policy) -> list[tuple[str, str, str]]:
    """(what happened, rule, how grave it is now or was) for each rule that differs."""
    found: list[tuple[str, str, str]] = []
    for name in sorted(old.rules.keys() | new.rules.keys()):
        before, after = old.rules.get(name), new.rules.get(name)
        rule = after or before
        assert rule is not None, "it is in one of them"
        kind = f"forbid {rule.severity}" if rule.forbids else "permit"
        if before is None:
            found.append(("added", name, kind))
        elif after is None:
            found.append(("removed", name, kind))
        elif before.digest != after.digest:
            found.append(("changed", name, kind))
    return found


def draft(seen: list[Mapping[str, str]], live: Policy) -> tuple[str, list[str]]:
    """Cedar that permits what was observed, and what of it ``live`` does not permit.

    ``seen`` are rows of the audit trail. Only what passed, or what no rule permitted,
    is drafted: what a rule forbade stays forbidden.
    """
    wanted: set[tuple[str, str, str, str]] = set()
    for row in seen:
        if row["verdict"] == "allowed" or row["reason"] == "no-permit":
            wanted.add((row["agent"], row["server"], row["method"], row["tool"]))
    rules, newly = [], []
    for number, (agent, server, method, tool) in enumerate(sorted(wanted), 1):
        target = ("Tool", f"{server}/{tool}") if tool else ("Server", server)
        rules.append(
            f'@id("learnt-{number}")\npermit(principal == Agent::"{agent}",'
            f" action == Action::{_quoted(method)},"
            f" resource == {target[0]}::{_quoted(target[1])});\n"
        )
        call = _call(
            {"agent_id": agent, "server": server, "method": method, "tool": tool}
        )
        if not live.decide(call).allow:
            newly.append(f"{agent[:16]} {method} {target[1]}")
    return "\n".join(rules), newly


def _quoted(text: str) -> str:
    """A Cedar string; whatever is not plain is written by its code."""
    plain = "".join(
        c
        if c.isascii() and c.isprintable() and c not in '"\\'
        else f"\\u{{{ord(c):x}}}"
        for c in text
    )
    return f'"{plain}"'
