"""Signed requests: what an agent and its node put their names to.

An envelope travels beside each request between nodes. Its body names who asks
whom for what, under which policy bundle, and commits to the parameters
(`enforcement.mcp.leaves`). Agent and node sign the same body, each under a label
of its own. Byte for byte in ``docs/reference/envelope.md``.
"""

from typing import Final

import attrs

from enforcement import limits
from enforcement.mcp.leaves import SEED_BYTES
from enforcement.mcp.sharing import MAC_BYTES, OFFER_BYTES_MAX
from enforcement.principal import Principal
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.suite import SIGNATURE_BYTES, Suite
from gossip.units import (
    ID_BYTES,
    UNIX_MS_MAX,
    AgentId,
    ClusterId,
    KeyId,
    NodeId,
    UnixMs,
)
from gossip.wire import pack, take_bytes, take_int, take_list, unpack_untrusted

REQUEST_ID_BYTES: Final = 16
NO_MANIFEST: Final = bytes(ID_BYTES)
NO_SESSION: Final = bytes(ID_BYTES)
_VERSION = 1
_BODY_BYTES_MAX = 4_096


@attrs.frozen(kw_only=True)
class RequestBody:
    """What is signed.

    Attributes:
        key: Reference to the node's operational key that signs.
        cert: Digest of the agent's certificate.
        audience: The node that may act on it; nobody else.
        request_id: 16 random bytes, never used twice.
        bundle: The policy bundle under which the node allowed it.
        manifest: The tool manifest it was made for; zeros while unpinned.
        root, count: The tree of its parameters.
        session: What its egress gate calls the session; zeros if it told nobody.
    """

    cluster: ClusterId = attrs.field(repr=bytes.hex)
    node: NodeId = attrs.field(repr=bytes.hex)
    agent: AgentId = attrs.field(repr=bytes.hex)
    key: KeyId = attrs.field(repr=bytes.hex)
    cert: bytes = attrs.field(repr=bytes.hex)
    audience: NodeId = attrs.field(repr=bytes.hex)
    server: str
    method: str
    tool: str
    request_id: bytes = attrs.field(repr=bytes.hex)
    issued_at_ms: UnixMs
    bundle: bytes = attrs.field(repr=bytes.hex)
    manifest: bytes = attrs.field(default=NO_MANIFEST, repr=bytes.hex)
    root: bytes = attrs.field(repr=bytes.hex)
    count: int
    session: bytes = attrs.field(default=NO_SESSION, repr=bytes.hex)


def write_body(body: RequestBody) -> bytes:
    """The bytes that are signed. Names go as UTF-8 bytes, just as they were sent."""
    return pack(
        [
            _VERSION,
            body.cluster,
            body.node,
            body.agent,
            body.key,
            body.cert,
            body.audience,
            body.server.encode(),
            body.method.encode(),
            body.tool.encode(),
            body.request_id,
            body.issued_at_ms,
            body.bundle,
            body.manifest,
            body.root,
            body.count,
            *([] if body.session == NO_SESSION else [body.session]),
        ]
    )


def read_body_untrusted(data: bytes) -> RequestBody:
    """Read a body; says nothing about its signatures.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(unpack_untrusted(data, _BODY_BYTES_MAX), 16, 17)
    take_int(fields[0], _VERSION, _VERSION)
    session = take_bytes(fields[16], ID_BYTES, ID_BYTES) if fields[16:] else NO_SESSION
    if fields[16:] and session == NO_SESSION:
        raise PeerError("a session without a name")
    ids = [
        take_bytes(fields[i], ID_BYTES, ID_BYTES) for i in (*range(1, 7), 12, 13, 14)
    ]
    try:
        server, method, tool = (
            take_bytes(fields[i], 0, 4 * limits.TOOL_CHARS_MAX).decode()
            for i in (7, 8, 9)
        )
    except UnicodeDecodeError as wrong:
        raise PeerError("a name in an envelope is not UTF-8") from wrong
    return RequestBody(
        cluster=ClusterId(ids[0]),
        node=NodeId(ids[1]),
        agent=AgentId(ids[2]),
        key=KeyId(ids[3]),
        cert=ids[4],
        audience=NodeId(ids[5]),
        server=server,
        method=method,
        tool=tool,
        request_id=take_bytes(fields[10], REQUEST_ID_BYTES, REQUEST_ID_BYTES),
        issued_at_ms=UnixMs(take_int(fields[11], 0, UNIX_MS_MAX)),
        bundle=ids[6],
        manifest=ids[7],
        root=ids[8],
        count=take_int(fields[15], 1, limits.LEAVES_MAX),
        session=session,
    )


@attrs.frozen(kw_only=True)
class Envelope:
    """A body, what vouches for it, and the seed that only the provider is told.

    Attributes:
        agent_signature, node_signature: Empty where a shared key stands for them.
        mac, offer: Empty where the body itself is signed; see `enforcement.mcp.sharing`.
    """

    body: RequestBody
    encoded_body: bytes = attrs.field(repr=False)
    agent_signature: bytes = attrs.field(default=b"", repr=False)
    node_signature: bytes = attrs.field(default=b"", repr=False)
    mac: bytes = attrs.field(default=b"", repr=False)
    offer: bytes = attrs.field(default=b"", repr=False)
    seed: bytes = attrs.field(repr=False)


def write_envelope(
    encoded_body: bytes, agent_signature: bytes, node_signature: bytes, seed: bytes
) -> bytes:
    """What travels beside a request that is signed."""
    return pack([encoded_body, agent_signature, node_signature, seed])


def write_shared_envelope(
    encoded_body: bytes, mac: bytes, offer: bytes, seed: bytes
) -> bytes:
    """What travels beside a request under a shared key."""
    return pack([encoded_body, mac, offer, seed])


def read_envelope_untrusted(data: bytes) -> Envelope:
    """Read an envelope; says nothing about what vouches for it.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(unpack_untrusted(data, limits.ENVELOPE_BYTES_MAX), 4, 4)
    encoded = take_bytes(fields[0], 1, _BODY_BYTES_MAX)
    if isinstance(fields[1], bytes) and len(fields[1]) == MAC_BYTES:
        return Envelope(
            body=read_body_untrusted(encoded),
            encoded_body=encoded,
            mac=fields[1],
            offer=take_bytes(fields[2], 1, OFFER_BYTES_MAX),
            seed=take_bytes(fields[3], SEED_BYTES, SEED_BYTES),
        )
    return Envelope(
        body=read_body_untrusted(encoded),
        encoded_body=encoded,
        agent_signature=take_bytes(fields[1], SIGNATURE_BYTES, SIGNATURE_BYTES),
        node_signature=take_bytes(fields[2], SIGNATURE_BYTES, SIGNATURE_BYTES),
        seed=take_bytes(fields[3], SEED_BYTES, SEED_BYTES),
    )


def check_signer_untrusted(
    body: RequestBody, principal: Principal, cluster: ClusterId
) -> None:
    """Check that a body names this cluster and this principal, with keys in force.

    Raises:
        PeerError: it does not.
    """
    if body.cluster != cluster:
        raise PeerError("the request is signed for another cluster")
    if (body.node, body.agent) != (principal.node, principal.agent):
        raise PeerError("the request is signed for another agent or node")
    if (body.key, body.cert) != (principal.chain.key, principal.cert_digest):
        raise PeerError("the request is signed under another certificate")
    at_ms = body.issued_at_ms
    if not principal.chain.covers(at_ms) or not principal.cert.covers(at_ms):
        raise PeerError("the request is signed with a key that was not in force")


def check_signatures_untrusted(
    encoded_body: bytes,
    agent_signature: bytes,
    node_signature: bytes,
    principal: Principal,
    suite: Suite,
) -> None:
    """Check both composite signatures: four halves, all must verify.

    Raises:
        PeerError: one does not.
    """
    suite.verify(
        principal.cert.public_key, encoded_body, agent_signature, Domain.REQUEST_AGENT
    )
    suite.verify(
        principal.chain.operational, encoded_body, node_signature, Domain.REQUEST_NODE
    )
