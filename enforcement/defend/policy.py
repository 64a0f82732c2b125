"""Policy: a bundle of Cedar rules that judges one call, the same on every node.

Deny by default; a forbid beats every permit; whatever errs denies (Cedar alone
would skip a `forbid` that errs). A call is shown only to the rules whose scope it
can match, and those rules only what they read of it. So most calls look alike to
their rules, and what these once answered holds for every call that looks the same.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.metadata import version
from typing import Final, TypeAlias

import attrs
import cedarpy

from enforcement import limits
from enforcement.defend.asking import asked_words, keep_words
from enforcement.defend.facts import (
    FACTS_VERSION,
    Fact,
    Path,
    Read,
    UnreadableError,
    build_context,
    in_order,
    show_in_order,
)
from enforcement.defend.rules import Entity, Rule, read_rules
from enforcement.mcp.jsonrpc import Reason
from enforcement.mcp.strictjson import Json
from enforcement.principal import Principal
from gossip.domains import Domain
from gossip.errors import UserError
from gossip.suite import digest
from gossip.wire import Value, pack

CEDAR_VERSION: Final = version("cedarpy")
REVEAL: Final = "reveal"
"""The action of showing an agent what a tag marks in an answer."""
_UNSENSED: Final[Mapping[str, Fact]] = {
    "approved": False,
    "level": "pqc-lattice-high",
    "listed": True,
    "tags": [],
    "trust": 0,
}


@attrs.frozen(kw_only=True)
class Call:
    """What policy judges: one request of one agent.

    Attributes:
        tool: Empty unless the method is ``tools/call``.
        params: The request's whole ``params``; None if it has none.
        tag: Asks instead whether the answer's data with this tag may be shown.
        senses: What this node knows besides; see `SENSES`.
    """

    principal: Principal
    server: str
    method: str
    tool: str
    params: dict[str, Json] | None = attrs.field(repr=False)
    tag: str = ""
    senses: Mapping[str, Fact] = attrs.field(factory=dict, repr=False)

    @property
    def view(self) -> Json:
        """What ``context.params`` shows: a tool's arguments, or all params."""
        if self.method == "tools/call":
            return (self.params or {}).get("arguments")
        return self.params


@attrs.frozen(kw_only=True)
class Decision:
    """Whether a call may pass, and by which rule.

    Attributes:
        rule: Id of the deciding `forbid`; empty if none decided.
        sentence: For the person who is denied.
    """

    allow: bool
    reason: Reason
    rule: str = ""
    severity: int = 0
    category: str = ""
    advice: str = ""
    sentence: str = ""
    hostile: bool = False
    local: bool = False
    """It follows from what only this node senses: another's gate may differ."""


@attrs.frozen
class _Slice:
    """The rules whose scope a (server, method, tool) can match."""

    rules: Mapping[str, Rule]
    reads: tuple[Read, ...]
    senses: frozenset[str]
    asks: Mapping[Path, frozenset[str]]
    policies: cedarpy.PolicySet = attrs.field(repr=False)
    _entities: dict[tuple[bytes, str], cedarpy.Entities] = attrs.field(
        factory=dict, repr=False
    )

    def show(self, call: Call) -> dict[str, Fact]:
        """The context of a call, with no more in it than tells calls apart.

        Raises:
            UnreadableError: as `build_context`.
        """
        context = show_in_order(call.view, self.reads)
        for path, few in self.asks.items():
            keep_words(context["words"], path, few)
        for name in self.senses:
            context[name] = call.senses.get(name, _UNSENSED[name])
        return context

    def entities(self, call: Call) -> cedarpy.Entities:
        """Agent and target as Cedar's entities; parsing them is half of deciding."""
        key = _principal_key(call)
        found = self._entities.get(key)
        if found is None:
            if len(self._entities) >= limits.SLICE_PRINCIPALS_MAX:
                self._entities.clear()
            found = self._entities[key] = _entities(call)
        return found


_SliceKey: TypeAlias = tuple[str, str, str, str]
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_ALLOWED = Decision(allow=True, reason=Reason.ALLOWED)
_NO_PERMIT = Decision(
    allow=False, reason=Reason.NO_PERMIT, sentence="no rule permits this call"
)


@attrs.define
class Policy:
    """One bundle, parsed. Load it with `Policy.load`; it never changes.

    Attributes:
        digest: Over all texts, Cedar's version and the facts' version: two nodes
            with the same digest judge every call alike.
        secret: Parameter names (folded) that no proof may open.
    """

    digest: bytes = attrs.field(repr=bytes.hex)
    rules: Mapping[str, Rule] = attrs.field(repr=False)
    secret: frozenset[str]
    _slices: dict[_SliceKey, _Slice] = attrs.field(init=False, factory=dict, repr=False)
    _answers: dict[tuple[_SliceKey, tuple[bytes, str], str], Decision] = attrs.field(
        init=False, factory=dict, repr=False
    )
    _alone: dict[bytes, cedarpy.PolicySet] = attrs.field(
        init=False, factory=dict, repr=False
    )
    """Rules that were asked by themselves, by digest."""

    @classmethod
    def load(cls, files: Mapping[str, str]) -> "Policy":
        """Parse a bundle: the Cedar text of each file, by name.

        Raises:
            UserError: one sentence that names the file, the line or the rule.
        """
        if len(files) > limits.POLICY_FILES_MAX:
            raise UserError(f"a bundle has at most {limits.POLICY_FILES_MAX} files")
        if sum(map(len, files.values())) > limits.POLICY_BYTES_MAX:
            raise UserError(f"a bundle has at most {limits.POLICY_BYTES_MAX} bytes")
        rules: dict[str, Rule] = {}
        for name in sorted(files):
            for rule in read_rules(name, files[name], CEDAR_VERSION):
                if rule.id in rules:
                    raise UserError(
                        f"{name}: the id `{rule.id}` is already used in"
                        f" {rules[rule.id].file}; give each rule its own `@id`"
                    )
                rules[rule.id] = rule
        if len(rules) > limits.RULES_MAX:
            raise UserError(f"a bundle has at most {limits.RULES_MAX} rules")
        return cls(
            digest=bundle_digest(files),
            rules=rules,
            secret=frozenset(
                name.casefold() for rule in rules.values() for name in rule.secret
            ),
        )

    @cached_property
    def secret_paths(self) -> frozenset[Path]:
        """The parameters, folded, that the policy itself names as secret.

        The same name further down, where no rule names it, is the caller's choice: it
        would be where to hide from proofs.
        """
        named = {tuple(name.split(".")) for name in self.secret}
        named |= {(name,) for name in self.secret}
        for rule in self.rules.values():
            for read in rule.reads:
                path = tuple(part.casefold() for part in read.path)
                named |= {
                    path[: end + 1]
                    for end, part in enumerate(path)
                    if part in self.secret
                }
        return frozenset(named)

    def decide(self, call: Call) -> Decision:
        """Judge a call. Never raises on account of what is in it."""
        part = self._slice(call)
        try:
            context = part.show(call)
        except UnreadableError as wrong:
            return Decision(
                allow=False,
                reason=Reason.UNREADABLE,
                sentence=f"a rule reads what it cannot be shown exactly: {wrong}",
            )
        shown = repr(context)  # tells apart whatever JSON would, and is sooner done
        if len(shown) > limits.ANSWER_CONTEXT_CHARS_MAX:
            return self._decide(call, part, _encode(context))
        key = (_slice_key(call), _principal_key(call), shown)
        found = self._answers.get(key)
        if found is None:
            if len(self._answers) >= limits.ANSWERS_MAX:
                self._answers.clear()
            found = self._answers[key] = self._decide(call, part, _encode(context))
        return found

    def _decide(self, call: Call, part: _Slice, context: str) -> Decision:
        """What follows from slice, principal and context, and from nothing else."""
        local = bool(part.senses)
        fired, errors, allowed = _ask(part.policies, part.entities(call), call, context)
        forbids = [part.rules[name] for name in fired if part.rules[name].forbids]
        if forbids:
            return _denial(max(forbids, key=lambda r: (r.hostile, r.severity, r.id)))
        if errors:
            return Decision(
                allow=False,
                reason=Reason.POLICY_ERROR,
                sentence=f"a rule could not be evaluated: {errors[0][:200]}",
                local=local,
            )
        if allowed:
            return _ALLOWED
        return attrs.evolve(_NO_PERMIT, local=local) if local else _NO_PERMIT

    def hostile_rules(self, call: Call) -> list[Rule]:
        """Those that could convict whoever signs this call."""
        return [rule for rule in self._slice(call).rules.values() if rule.hostile]

    def explain(self, call: Call) -> list[tuple[Rule, str]]:
        """Each rule whose scope the call matches, and what it alone answers."""
        told: list[tuple[Rule, str]] = []
        for rule in self._slice(call).rules.values():
            try:
                context = build_context(call.view, rule.reads)
            except UnreadableError as wrong:
                told.append((rule, f"cannot be shown: {wrong}"))
                continue
            for name in rule.senses:
                context[name] = call.senses.get(name, _UNSENSED[name])
            shown = _encode(context)
            fired, errors, _ = _ask(_policy_set([rule]), _entities(call), call, shown)
            answer = f"errs: {errors[0][:200]}" if errors else "does not apply"
            told.append((rule, "applies" if fired else answer))
        return told

    def breaks(self, rule: Rule, call: Call) -> bool:
        """Whether ``call`` breaks this one `forbid`, without any error.

        ``call.params`` need hold no more than what the rule reads. This is what
        whoever is shown a proof runs.
        """
        if not rule.forbids or rule.senses or not rule.may_apply(*_scope(call)):
            return False
        try:
            context = build_context(call.view, rule.reads)
        except UnreadableError:
            return False
        alone = self._alone.get(rule.digest)
        if alone is None:
            alone = self._alone[rule.digest] = _policy_set([rule])
        fired, errors, _ = _ask(alone, _entities(call), call, _encode(context))
        return fired == [rule.id] and not errors

    def _slice(self, call: Call) -> _Slice:
        key = _slice_key(call)
        found = self._slices.get(key)
        if found is None:
            probe = _scope(call)
            rules = [r for r in self.rules.values() if r.may_apply(*probe)]
            found = _Slice(
                rules={rule.id: rule for rule in rules},
                reads=in_order({read for rule in rules for read in rule.reads}),
                senses=frozenset(name for rule in rules for name in rule.senses),
                asks=asked_words(rules),
                policies=_policy_set(rules),
            )
            if len(self._slices) >= limits.SLICES_MAX:
                self._slices.clear()  # names come from callers: never unbounded
            self._slices[key] = found
        return found


def bundle_digest(files: Mapping[str, str]) -> bytes:
    """What envelopes and feeds name a bundle by."""
    texts: list[Value] = [[name, files[name].encode()] for name in sorted(files)]
    return digest(Domain.BUNDLE, pack([CEDAR_VERSION, FACTS_VERSION, texts]))


def _slice_key(call: Call) -> _SliceKey:
    return call.server, call.method, call.tool, call.tag


def _principal_key(call: Call) -> tuple[bytes, str]:
    return call.principal.cert.encoded, call.principal.node_name


def _denial(rule: Rule) -> Decision:
    return Decision(
        allow=False,
        reason=Reason.RULE,
        rule=rule.id,
        severity=rule.severity,
        category=rule.category,
        advice=rule.advice,
        sentence=f"rule `{rule.id}` forbids this call",
        hostile=rule.hostile,
        local=bool(rule.senses),
    )


def _policy_set(rules: Iterable[Rule]) -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_json_str(
        json.dumps(
            {
                "templates": {},
                "staticPolicies": {rule.id: rule.source for rule in rules},
                "templateLinks": [],
            }
        )
    )


def _scope(call: Call) -> tuple[str, Entity, tuple[Entity, ...]]:
    """Action, resource, and what the resource is in, as Cedar sees them."""
    server = ("Server", call.server)
    tool = ("Tool", f"{call.server}/{call.tool}")
    if call.tag:
        return REVEAL, ("Tag", call.tag), (tool, server)
    if call.method == "tools/call":
        return call.method, tool, (server,)
    return call.method, server, ()


def _entities(call: Call) -> cedarpy.Entities:
    _, (kind, target), parents = _scope(call)
    agent = call.principal
    return cedarpy.Entities.from_json_str(
        json.dumps(
            [
                {
                    "uid": {"type": "Agent", "id": agent.agent.hex()},
                    "attrs": {"name": agent.name, "node": agent.node_name},
                    "parents": [{"type": "Role", "id": role} for role in agent.roles],
                },
                {
                    "uid": {"type": kind, "id": target},
                    "attrs": {
                        "name": call.tag or call.tool or call.server,
                        "server": call.server,
                    },
                    "parents": [{"type": t, "id": name} for t, name in parents],
                },
            ]
        )
    )


def _ask(
    policies: cedarpy.PolicySet,
    entities: cedarpy.Entities,
    call: Call,
    context: str,
) -> tuple[list[str], list[str], bool]:
    """Cedar's answer: rules that decided, errors, and whether it allows."""
    action, (kind, target), _ = _scope(call)
    answer = cedarpy.is_authorized(
        {
            "principal": {"type": "Agent", "id": call.principal.agent.hex()},
            "action": {"type": "Action", "id": action},
            "resource": {"type": kind, "id": target},
            "context": context,
        },
        policies,
        entities,
    )
    said = answer.diagnostics
    allowed = answer.decision is cedarpy.Decision.Allow
    errors = [*said.errors]
    if answer.decision is cedarpy.Decision.NoDecision and not errors:
        errors = ["no decision"]
    return [*said.reasons], errors, allowed
