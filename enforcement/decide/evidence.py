"""The denied-request proof: a signed request that its own policy bundle forbids.

It holds what any node of the cluster needs to judge alone: the chain and the
certificate of those who signed, the signed body, the hostile rule's id, and of
the parameters only what that rule reads, each value opened or proven absent.
Whoever reads it runs that one rule again. Any doubt acquits.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import attrs

from enforcement import limits
from enforcement.defend.facts import Path
from enforcement.defend.policy import Call, Policy
from enforcement.defend.rules import Rule
from enforcement.mcp.leaves import (
    Leaves,
    check_absent_untrusted,
    pointer,
    read_leaf_untrusted,
    untyped_untrusted,
)
from enforcement.mcp.signing import (
    Envelope,
    RequestBody,
    check_signatures_untrusted,
    check_signer_untrusted,
    read_body_untrusted,
)
from enforcement.mcp.strictjson import Json
from enforcement.principal import Principal, Principals
from gossip.errors import PeerError
from gossip.limits import CHAIN_BYTES_MAX
from gossip.membership.identity import Chain
from gossip.membership.roster import Roster
from gossip.suite import SIGNATURE_BYTES, Suite
from gossip.units import ID_BYTES, AgentId, NodeId, UnixMs
from gossip.wire import Value, pack, take_bytes, take_int, take_list, unpack_untrusted

FindPolicy: TypeAlias = Callable[[bytes], Policy | None]
"""From a bundle's digest to the bundle, if this node has it."""

_VERSION = 1
_NAME_BYTES_MAX = 1_024
_OPENED_MAX = 1_024
_ABSENT_MAX = 1_024


@attrs.frozen(kw_only=True)
class DeniedRequest:
    """What a proof proves: this agent and this node signed what the rule forbids.

    Attributes:
        issued_at_ms: The stamp they signed. Whether it is still news, the court says.
        request_id: 16 bytes; the same in every proof about the same request.
    """

    agent: AgentId = attrs.field(repr=bytes.hex)
    agent_name: str
    node: NodeId = attrs.field(repr=bytes.hex)
    rule: str
    severity: int
    issued_at_ms: UnixMs
    request_id: bytes = attrs.field(repr=bytes.hex)
    chain: Chain


def build_proof(
    *,
    envelope: Envelope,
    leaves: Leaves,
    principal: Principal,
    params: dict[str, Json] | None,
    policy: Policy,
    rule: Rule,
) -> bytes | None:
    """Prove that a verified request breaks a hostile rule of the bundle it names.

    Returns:
        The proof; None if it would open a secret parameter or be too large, and
        then what was seen is a witness's word only.
    """
    show = _Disclosure(leaves)
    prefix = _prefix(envelope.body)
    for read in sorted(rule.reads):
        show.path(params, (*prefix, *read.path), whole=read.whole)
    if len(show.opened) > _OPENED_MAX:
        return None
    secret = policy.secret_paths
    if any(_is_secret(path, prefix, secret) for path in show.opened.values()):
        return None
    absent: list[Value] = []
    for path in sorted(show.absent):
        left, right = leaves.around(path)
        absent.append([path, left.write(), right.write() if right else None])
    data = pack(
        [
            _VERSION,
            principal.chain.encoded,
            principal.cert.encoded,
            envelope.encoded_body,
            envelope.agent_signature,
            envelope.node_signature,
            rule.id.encode(),
            rule.digest,
            [leaves.open(index).write() for index in sorted(show.opened)],
            absent,
        ]
    )
    return data if len(data) <= limits.PROOF_BYTES_MAX else None


def _prefix(body: RequestBody) -> Path:
    """Where in ``params`` a rule's view begins; see `Call.view`."""
    return ("arguments",) if body.method == "tools/call" else ()


def _is_secret(path: Path, prefix: Path, secret: frozenset[Path]) -> bool:
    own = tuple(part.casefold() for part in path[len(prefix) :])
    return any(own[: end + 1] in secret for end in range(len(own)))


@attrs.define
class _Disclosure:
    """Collects which leaves to open and which paths to prove absent."""

    leaves: Leaves
    opened: dict[int, Path] = attrs.field(init=False, factory=dict)
    absent: set[bytes] = attrs.field(init=False, factory=set)

    def path(self, params: Json, path: Path, *, whole: bool) -> None:
        value = params
        for end, part in enumerate(path):
            self._open(path[:end])
            if not isinstance(value, dict):
                return
            if part not in value:
                self.absent.add(pointer(path[: end + 1]))
                return
            value = value[part]
        self._open(path)
        if whole:
            self._below(value, path)

    def _below(self, value: Json, path: Path) -> None:
        members: Iterable[tuple[str, Json]] = ()
        if isinstance(value, dict):
            members = value.items()
        elif isinstance(value, list):
            members = ((str(i), item) for i, item in enumerate(value))
        for part, item in members:
            self._open((*path, part))
            self._below(item, (*path, part))

    def _open(self, path: Path) -> None:
        index = self.leaves.find(pointer(path))
        assert index is not None, "every value of the request is a leaf"
        self.opened[index] = path


def read_proof_untrusted(
    data: bytes,
    *,
    roster: Roster,
    suite: Suite,
    policies: FindPolicy,
    known: Principals | None = None,
) -> DeniedRequest | None:
    """Judge a proof, alone.

    ``known`` are principals verified before with this roster and suite.

    Returns:
        What it proves; None if all signatures hold but this node does not have
        the bundle: then it is only its reporter's word.

    Raises:
        PeerError: it proves nothing: malformed, forged, incomplete, about
            another cluster, or the rule does not forbid what is shown.
    """
    fields = take_list(unpack_untrusted(data, limits.PROOF_BYTES_MAX), 10, 10)
    take_int(fields[0], _VERSION, _VERSION)
    encoded = take_bytes(fields[3], 1, limits.ENVELOPE_BYTES_MAX)
    body = read_body_untrusted(encoded)
    principal = (known or Principals(roster, suite)).read_untrusted(
        take_bytes(fields[1], 1, CHAIN_BYTES_MAX),
        take_bytes(fields[2], 1, limits.ENVELOPE_BYTES_MAX),
        body.node,
        body.key,
    )
    check_signer_untrusted(body, principal, roster.cluster)
    by_agent = take_bytes(fields[4], SIGNATURE_BYTES, SIGNATURE_BYTES)
    by_node = take_bytes(fields[5], SIGNATURE_BYTES, SIGNATURE_BYTES)
    check_signatures_untrusted(encoded, by_agent, by_node, principal, suite)
    roster.member(body.audience)
    shown = _read_shown_untrusted(fields[8], fields[9], body)
    policy = policies(body.bundle)
    if policy is None:
        return None
    rule = _find_rule_untrusted(policy, fields[6], fields[7])
    _check_broken_untrusted(policy, rule, body, principal, shown)
    return DeniedRequest(
        agent=body.agent,
        agent_name=principal.name,
        node=body.node,
        rule=rule.id,
        severity=rule.severity,
        issued_at_ms=body.issued_at_ms,
        request_id=body.request_id,
        chain=principal.chain,
    )


@attrs.frozen(kw_only=True)
class Told:
    """What a proof lets people know of its request; never a value.

    Attributes:
        paths: Of the parameters it opens, as JSON pointers without ``/arguments``.
    """

    agent: AgentId = attrs.field(repr=bytes.hex)
    node: NodeId = attrs.field(repr=bytes.hex)
    server: str
    method: str
    tool: str
    paths: tuple[str, ...]


def tell_proof_untrusted(data: bytes) -> Told:
    """Read what a proof is about, without judging it.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(unpack_untrusted(data, limits.PROOF_BYTES_MAX), 10, 10)
    body = read_body_untrusted(take_bytes(fields[3], 1, limits.ENVELOPE_BYTES_MAX))
    shown = _read_shown_untrusted(fields[8], fields[9], body)
    prefix = pointer(_prefix(body)) + b"/"
    paths = sorted(path.removeprefix(prefix) for path in shown.leaves())
    return Told(
        agent=body.agent,
        node=body.node,
        server=body.server,
        method=body.method,
        tool=body.tool,
        paths=tuple(path.decode(errors="replace") for path in paths),
    )


def _find_rule_untrusted(policy: Policy, name: Value, rule_digest: Value) -> Rule:
    rule = policy.rules.get(
        take_bytes(name, 1, _NAME_BYTES_MAX).decode(errors="replace")
    )
    if rule is None or not rule.hostile:
        raise PeerError("the bundle has no such hostile rule")
    if take_bytes(rule_digest, ID_BYTES, ID_BYTES) != rule.digest:
        raise PeerError("the rule reads otherwise in the bundle that was named")
    return rule


def _check_broken_untrusted(
    policy: Policy,
    rule: Rule,
    body: RequestBody,
    principal: Principal,
    shown: "_Shown",
) -> None:
    prefix, secret = _prefix(body), policy.secret_paths
    if any(_is_secret(_parts(path), prefix, secret) for path in shown.opened):
        raise PeerError("a proof must not open what the policy keeps secret")
    for read in sorted(rule.reads):
        shown.check_covers((*prefix, *read.path), whole=read.whole)
    params = shown.build(b"") if b"" in shown.opened else None
    call = Call(
        principal=principal,
        server=body.server,
        method=body.method,
        tool=body.tool,
        params=params if isinstance(params, dict) else None,
    )
    if not policy.breaks(rule, call):
        raise PeerError(f"the rule `{rule.id}` does not forbid what is shown")


def _read_shown_untrusted(opened: Value, absent: Value, body: RequestBody) -> "_Shown":
    found: dict[bytes, tuple[Json, int]] = {}
    children: dict[bytes, list[bytes]] = {}
    for item in take_list(opened, 0, _OPENED_MAX):
        leaf = read_leaf_untrusted(item)
        leaf.check_untrusted(body.root, body.count)
        if leaf.value is None or leaf.path in found:
            raise PeerError("an opened leaf without its value, or twice")
        found[leaf.path] = untyped_untrusted(leaf.value)
        if leaf.path:
            children.setdefault(leaf.path.rpartition(b"/")[0], []).append(leaf.path)
    missing: set[bytes] = set()
    for item in take_list(absent, 0, _ABSENT_MAX):
        path_value, left_value, right_value = take_list(item, 3, 3)
        path = take_bytes(path_value, 1, limits.PROOF_BYTES_MAX)
        left = read_leaf_untrusted(left_value)
        right = None if right_value is None else read_leaf_untrusted(right_value)
        check_absent_untrusted(path, left, right, body.root, body.count)
        missing.add(path)
    return _Shown(found, children, frozenset(missing))


@attrs.frozen
class _Shown:
    """The leaves a proof shows, each proven to be in the signed tree, or absent."""

    opened: Mapping[bytes, tuple[Json, int]]
    _children: Mapping[bytes, list[bytes]]
    _absent: frozenset[bytes]

    def check_covers(self, path: Path, *, whole: bool) -> None:
        """Check that all a rule reads at ``path`` is shown, or shown to be absent.

        Raises:
            PeerError: something is withheld.
        """
        for end in range(len(path) + 1):
            at = pointer(path[:end])
            if at in self._absent:
                return
            if at not in self.opened:
                raise PeerError("a parameter that the rule reads is withheld")
            if not isinstance(self.opened[at][0], dict):
                break
        if whole:
            self._check_complete(at)

    def _check_complete(self, path: bytes) -> None:
        value, size = self.opened[path]
        below = self._children.get(path, [])
        if len(below) != size:
            raise PeerError("part of a parameter that the rule reads is withheld")
        if isinstance(value, list):
            for child, expected in zip(
                sorted(below), sorted(_items(path, size)), strict=True
            ):
                if child != expected:
                    raise PeerError("a list whose items are not numbered")
        for child in below:
            self._check_complete(child)

    def leaves(self) -> list[bytes]:
        """The paths of opened values below which nothing is opened."""
        return [path for path in self.opened if path not in self._children]

    def build(self, path: bytes) -> Json:
        """The value at an opened path, as far as it is shown."""
        value, size = self.opened[path]
        below = self._children.get(path, [])
        if isinstance(value, dict):
            return {_parts(child)[-1]: self.build(child) for child in below}
        if isinstance(value, list) and len(below) == size:
            return [self.build(item) for item in _items(path, size) if item in below]
        return value


def _items(path: bytes, size: int) -> list[bytes]:
    return [b"%s/%d" % (path, i) for i in range(size)]


def _parts(path: bytes) -> Path:
    text = path.decode(errors="replace")
    return tuple(
        part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]
    )
