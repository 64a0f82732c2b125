"""What a gate asks for: bytes to move, bodies to sign, things to tell.

Effects are performed in the order returned; what is only told may wait for the
others. None of them carries parameters of a call except `ToServer` and `ToClient`,
which are the call itself, and `Proof`, which opens only what a hostile rule read.
"""

from enum import StrEnum
from functools import lru_cache
from typing import TypeAlias

import attrs

from gossip.units import AgentId, NodeId, UnixMs


class Position(StrEnum):
    """Where a gate stands between an agent and a server."""

    LOCAL = "local"
    """Agent and server are both on this node."""
    EGRESS = "egress"
    """The agent is here, the server on another node: decide, then sign."""
    INGRESS = "ingress"
    """The server is here, the agent on another node: verify, then decide."""


class SubjectKind(StrEnum):
    """Of whom something can be said."""

    NODE = "node"
    AGENT = "agent"
    ARTEFACT = "artefact"
    """A tool, by the digest of its manifest."""
    SESSION = "session"
    """One session, by the random id that its egress gate signs, and that the audit
    records of both gates show."""


@attrs.frozen
class Subject:
    """Of whom something is said; ``id`` is a `NodeId`, an `AgentId` or a digest."""

    kind: SubjectKind
    id: bytes = attrs.field(repr=bytes.hex)


@lru_cache(maxsize=4_096)
def subject_of(kind: SubjectKind, name: bytes) -> Subject:
    """A `Subject`: with each call the same few are asked about."""
    return Subject(kind, name)


@attrs.frozen
class ToServer:
    """Forward to the server, or to its node.

    Attributes:
        data: The client's bytes, unchanged.
        envelope: Only at `Position.EGRESS`, only with requests: what travels
            beside the message and enters the provider's gate as
            `ClientMessage.envelope`. About 7.1 KB.
    """

    data: bytes = attrs.field(repr=False)
    envelope: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen
class ToClient:
    """Forward to the agent: the server's bytes unchanged, or a denial."""

    data: bytes = attrs.field(repr=False)


@attrs.frozen
class SignRequest:
    """Sign ``body`` twice and come back with `RequestSigned`.

    The agent's key signs under `Domain.REQUEST_AGENT`, the node's operational
    key under `Domain.REQUEST_NODE`. Messages that follow wait behind it.

    Attributes:
        shares: A key shared with this node will do instead, if there is one; then
            `RequestShared` is the answer.
    """

    ticket: int
    body: bytes = attrs.field(repr=False)
    shares: NodeId | None = attrs.field(default=None, repr=False)


class Verdict(StrEnum):
    """What became of a message."""

    ALLOWED = "allowed"
    DENIED = "denied"
    DROPPED = "dropped"
    """Not a request, so nobody could be told: it went no further."""
    SUSPECTED = "suspected"
    """An answer that was shown although it looks like an injection; `rule` says how."""


@attrs.frozen(kw_only=True)
class Audit:
    """One decision, for the append-only trail.

    One for every request that is allowed. Of what is refused, and accuses nobody, an
    agent has 32 at once and then one a second, which stands for those left out.

    Attributes:
        method: Empty if the message could not be parsed.
        tool: Empty unless the method is ``tools/call``.
        rule: Id of the deciding rule; empty if no rule decided.
        reason: Machine-readable, see `enforcement.mcp.jsonrpc.Reason`.
        request_id: 16 random bytes of the envelope; empty without one.
        digest: Of the message's bytes, salted by this node (`Post.salt`).
        session: 32 random bytes; see `SubjectKind.SESSION`.
        count: For how many refusals of this agent it stands.
    """

    at_ms: UnixMs
    position: Position
    agent: AgentId = attrs.field(repr=bytes.hex)
    node: NodeId = attrs.field(repr=bytes.hex)
    server: str
    method: str
    tool: str
    verdict: Verdict
    rule: str
    reason: str
    request_id: bytes = attrs.field(repr=bytes.hex)
    digest: bytes = attrs.field(repr=bytes.hex)
    session: bytes = attrs.field(default=b"", repr=bytes.hex)
    count: int = 1


@attrs.frozen(kw_only=True)
class Witness:
    """This node saw ``subject`` misbehave: one voice, if the court passes it on.

    At most one per subject and second leaves all gates that share one
    `WitnessBudget`; ``count`` says how many it stands for.

    Attributes:
        severity: 1 to 9.
        digest: Of the message that was seen, as in its `Audit` record: salted,
            so that nobody can guess the message.
    """

    subject: Subject
    category: str
    severity: int
    digest: bytes = attrs.field(repr=bytes.hex)
    count: int
    at_ms: UnixMs


@attrs.frozen(kw_only=True)
class Proof:
    """A signed request that its own policy bundle denies: convicts both.

    ``data`` is what `enforcement.decide.evidence.read_proof_untrusted` reads on
    any node of the cluster.
    """

    data: bytes = attrs.field(repr=False)
    agent: AgentId = attrs.field(repr=bytes.hex)
    node: NodeId = attrs.field(repr=bytes.hex)
    rule: str
    severity: int


@attrs.frozen
class AskServer:
    """A question of the gate's own; its answer comes as any `ServerMessage`.

    A driver that carries each request on a way of its own asks at once, and hands
    in the answer before anything else.
    """

    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Prove:
    """Have the agent sign ``body`` under `Domain.CHALLENGE`; `Proven` comes back."""

    ticket: int
    body: bytes = attrs.field(repr=False)


@attrs.frozen
class HangUp:
    """End the session: its other side floods this node. Always the last effect."""

    sentence: str


@attrs.frozen(kw_only=True)
class ToolSeen:
    """A server declared a tool for the first time, or otherwise than it is pinned.

    Attributes:
        digest: Of the declaration seen now.
        held: It differs: nobody may see or call it until an operator accepts.
    """

    server: str
    tool: str
    digest: bytes = attrs.field(repr=bytes.hex)
    held: bool
    at_ms: UnixMs


Effect: TypeAlias = (
    ToServer
    | ToClient
    | AskServer
    | SignRequest
    | Prove
    | Audit
    | HangUp
    | Witness
    | Proof
    | ToolSeen
)
