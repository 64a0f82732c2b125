"""The founders' file: who the cluster was born with, and who may overrule it.

Every node holds the same file. It names the founding nodes, where to find
them, which roles each may grant and which MCP servers each provides; and the
operators, with how many of them each kind of act needs. The cluster's id is a
digest of all of it but the addresses, so two nodes that were handed different
files are strangers to each other.
"""

import base64
import binascii
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property

import attrs

from gossip import limits
from gossip.domains import Domain
from gossip.errors import UserError
from gossip.suite import PUBLIC_KEY_BYTES, digest, key_id
from gossip.units import ID_BYTES, ClusterId, KeyId, NodeId
from gossip.wire import pack


class ActKind(StrEnum):
    """What only a quorum of operators can do."""

    RELEASE = "release"
    POLICY = "policy"
    TOOL_APPROVAL = "tool-approval"
    ROSTER = "roster"
    KMS = "kms"
    STAND_DOWN = "stand-down"
    ALLOW = "allow"
    FALSE_POSITIVE = "false-positive"


@attrs.frozen(kw_only=True)
class Founder:
    """One founding node.

    Attributes:
        addresses: Where it can be reached, as (host, port); may be empty for a
            node that only dials out.
        grants: The roles it may certify its agents with.
        servers: The MCP servers it provides to the cluster.
    """

    name: str
    node: NodeId = attrs.field(repr=bytes.hex)
    addresses: tuple[tuple[str, int], ...]
    grants: frozenset[str]
    servers: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Operator:
    """One person's or machine's right to take part in operator acts."""

    name: str
    public_key: bytes = attrs.field(repr=False)

    @property
    def key(self) -> KeyId:
        """How an act's signatures refer to this operator."""
        return key_id(self.public_key)


@attrs.frozen(kw_only=True)
class Founders:
    """The founders' file, read and checked."""

    cluster_name: str
    nodes: tuple[Founder, ...]
    operators: tuple[Operator, ...]
    quorum: Mapping[ActKind, int]
    colluders: int | None
    """How many colluding nodes to tolerate; None means floor((N-1)/3)."""

    @cached_property
    def cluster(self) -> ClusterId:
        """Digest of everything but the addresses."""
        return ClusterId(
            digest(
                Domain.CLUSTER_ID,
                pack(
                    [
                        self.cluster_name,
                        [
                            [n.node, n.name, [*sorted(n.grants)], [*n.servers]]
                            for n in sorted(self.nodes, key=lambda n: n.node)
                        ],
                        [o.public_key for o in sorted(self.operators, key=_by_key)],
                        [[kind.value, self.quorum[kind]] for kind in ActKind],
                        self.colluders,
                    ]
                ),
            )
        )


def _by_key(operator: Operator) -> bytes:
    return operator.public_key


def parse_founders(text: str, file: str) -> Founders:
    """Read a founders' file; ``file`` is only its name, for messages.

    Raises:
        UserError: one sentence that says where it is wrong and what to do.
    """
    return _Reader(file).founders(_document(text, file))


def parse_card(text: str, file: str) -> Founder:
    """Read a node's card, of which founders' files are made.

    Raises:
        UserError: it is broken, or not the card of one node.
    """
    return _Reader(file).card(_document(text, file))


def parse_sponsor(text: str, file: str) -> str | None:
    """Whom a card asks to bring its node in; None for a founder's card.

    Raises:
        UserError: as by `parse_card`.
    """
    document = _document(text, file)
    _Reader(file).card(document)
    sponsor = document.get("sponsor")
    return None if sponsor is None else str(sponsor)


def _document(text: str, file: str) -> Mapping[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise UserError(f"{file}: not valid TOML: {wrong}") from wrong


@attrs.frozen
class _Reader:
    """Reads one file; knows its name, so that every complaint can say it."""

    file: str

    def founders(self, document: Mapping[str, object]) -> Founders:
        self._only(
            document,
            "the file",
            {"cluster", "colluders", "node", "operator", "quorum", "replicated"},
        )
        nodes = tuple(
            self._node(table, f"[[node]] {i}")
            for i, table in enumerate(self._tables(document, "node"), 1)
        )
        operators = tuple(
            self._operator(table, f"[[operator]] {i}")
            for i, table in enumerate(self._tables(document, "operator"), 1)
        )
        if not 1 <= len(nodes) <= limits.NODES_MAX:
            raise self._wrong("the file", f"needs 1 to {limits.NODES_MAX} [[node]]")
        if not 1 <= len(operators) <= limits.OPERATORS_MAX:
            raise self._wrong(
                "the file",
                f"needs 1 to {limits.OPERATORS_MAX} [[operator]]; without one nobody"
                " could release a quarantine",
            )
        self._different("node name", [n.name for n in nodes])
        self._different("node id", [n.node.hex() for n in nodes])
        self._different("operator name", [o.name for o in operators])
        self._different("operator key", [o.key.hex() for o in operators])
        self._check_servers(nodes, self._texts(document, "the file", "replicated"))
        return Founders(
            cluster_name=self._name(document, "the file", "cluster"),
            nodes=nodes,
            operators=operators,
            quorum=self._quorum(document.get("quorum", {}), len(operators)),
            colluders=self._colluders(document.get("colluders"), len(nodes)),
        )

    def card(self, document: Mapping[str, object]) -> Founder:
        self._only(document, "the card", {"node", "sponsor"})
        if "sponsor" in document:
            self._name(document, "the card", "sponsor")
        tables = self._tables(document, "node")
        if len(tables) != 1:
            raise self._wrong("the card", "must be of one [[node]]")
        return self._node(tables[0], "[[node]]")

    def _node(self, table: Mapping[str, object], where: str) -> Founder:
        self._only(table, where, {"name", "id", "addresses", "grants", "servers"})
        hexed = self._text(table, where, "id")
        try:
            identity = bytes.fromhex(hexed)
        except ValueError:
            identity = b""
        if len(identity) != ID_BYTES:
            raise self._wrong(
                where, "`id` must be 64 hex digits; copy it from the card"
            )
        return Founder(
            name=self._name(table, where, "name"),
            node=NodeId(identity),
            addresses=tuple(
                self._address(a, where) for a in self._texts(table, where, "addresses")
            ),
            grants=frozenset(self._texts(table, where, "grants")),
            servers=tuple(sorted(self._texts(table, where, "servers"))),
        )

    def _operator(self, table: Mapping[str, object], where: str) -> Operator:
        self._only(table, where, {"name", "public_key"})
        try:
            key = base64.b64decode(
                self._text(table, where, "public_key"), validate=True
            )
        except binascii.Error:
            key = b""
        if len(key) != PUBLIC_KEY_BYTES:
            raise self._wrong(
                where, "`public_key` is not a base64 public key; copy it from the card"
            )
        return Operator(name=self._name(table, where, "name"), public_key=key)

    def _quorum(self, value: object, operators: int) -> dict[ActKind, int]:
        if not isinstance(value, dict):
            raise self._wrong("[quorum]", "must be a table")
        self._only(value, "[quorum]", {kind.value for kind in ActKind})
        default = 1 if operators == 1 else 2
        quorum = {kind: value.get(kind.value, default) for kind in ActKind}
        for kind, needed in quorum.items():
            if type(needed) is not int or not 1 <= needed <= operators:
                raise self._wrong(
                    "[quorum]",
                    f"`{kind.value}` must be 1 to {operators}, the number of operators",
                )
        return quorum

    def _colluders(self, value: object, nodes: int) -> int | None:
        if value is None:
            return None
        if type(value) is not int or not 0 <= value <= (nodes - 1) // 3:
            raise self._wrong(
                "the file",
                f"`colluders` must be 0 to {(nodes - 1) // 3} for {nodes} nodes",
            )
        return value

    def _address(self, text: str, where: str) -> tuple[str, int]:
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
            raise self._wrong(
                where,
                f"address `{text}` is not `host:port` (IPv6 as `[::1]:7946`)",
            )
        return host, int(port)

    def _tables(
        self, table: Mapping[str, object], key: str
    ) -> list[Mapping[str, object]]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            raise self._wrong("the file", f"`{key}` must be written as [[{key}]]")
        return value

    def _texts(self, table: Mapping[str, object], where: str, key: str) -> list[str]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(
            isinstance(v, str) and 1 <= len(v) <= 256 for v in value
        ):
            raise self._wrong(where, f"`{key}` must be a list of strings")
        return value

    def _text(self, table: Mapping[str, object], where: str, key: str) -> str:
        value = table.get(key)
        if not isinstance(value, str):
            raise self._wrong(where, f"`{key}` is missing or not a string")
        return value

    def _name(self, table: Mapping[str, object], where: str, key: str) -> str:
        value = self._text(table, where, key)
        if not 1 <= len(value) <= limits.NAME_CHARS_MAX or not all(
            c.isascii() and (c.isalnum() or c in "-_.") for c in value
        ):
            raise self._wrong(
                where,
                f"`{key}` must be 1 to {limits.NAME_CHARS_MAX} of a-z, 0-9, `-_.`",
            )
        return value

    def _only(self, table: Mapping[str, object], where: str, known: set[str]) -> None:
        for key in table:
            if key not in known:
                raise self._wrong(
                    where, f"unknown key `{key}`; known are {', '.join(sorted(known))}"
                )

    def _check_servers(self, nodes: tuple[Founder, ...], several: list[str]) -> None:
        """Several nodes provide one server only where somebody said that they shall:
        else whoever writes a card could take part in anybody's server."""
        self._different("replicated server", several)
        providers: dict[str, list[str]] = {server: [] for server in several}
        for node in nodes:
            self._different("server", [*node.servers])
            for server in node.servers:
                providers.setdefault(server, []).append(node.name)
        for server, names in providers.items():
            if len(names) > 1 and server not in several:
                raise self._wrong(
                    "the file",
                    f"server `{server}` is provided by {' and '.join(names)}; if they"
                    " shall do so together, add it to `replicated`",
                )
            if len(names) < 2 and server in several:
                raise self._wrong(
                    "the file",
                    f"`replicated` names `{server}`, which"
                    f" {'1 node provides' if names else '0 nodes provide'}; take it"
                    " out, or add it to the `servers` of two nodes",
                )

    def _different(self, what: str, values: list[str]) -> None:
        seen: set[str] = set()
        for value in values:
            if value in seen:
                raise self._wrong("the file", f"{what} `{value}` appears twice")
            seen.add(value)

    def _wrong(self, where: str, what: str) -> UserError:
        return UserError(f"{self.file}: {where}: {what}")
