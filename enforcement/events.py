"""What can happen to a gate: messages from both sides, signatures, renewals.

A driver turns I/O into exactly one of these, hands it to `Gate.handle` with the
time, and performs the effects in the order returned.
"""

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from enforcement.principal import Principal


@attrs.frozen
class ClientMessage:
    """One whole JSON-RPC message from the agent's side.

    Attributes:
        data: The message's bytes, without framing or a line's end.
        envelope: Only at `Position.INGRESS`, only with requests: the bytes that
            came as `ToServer.envelope` out of the agent's own gate.
        headers: Of HTTP, names in lower case, where they may repeat the message;
            a message that they do not repeat truly is refused.
    """

    data: bytes = attrs.field(repr=False)
    envelope: bytes | None = attrs.field(default=None, repr=False)
    headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)


@attrs.frozen
class ServerMessage:
    """One whole JSON-RPC message from the server's side."""

    data: bytes = attrs.field(repr=False)


@attrs.frozen
class RequestSigned:
    """The answer to `SignRequest`: both signatures over its body.

    Attributes:
        agent_signature: By the agent's key, under `Domain.REQUEST_AGENT`.
        node_signature: By the operational key, under `Domain.REQUEST_NODE`.
    """

    ticket: int
    agent_signature: bytes = attrs.field(repr=False)
    node_signature: bytes = attrs.field(repr=False)


@attrs.frozen
class RequestShared:
    """The answer to `SignRequest` by a key that its node and the provider share.

    Attributes:
        mac: Of its body; see `enforcement.mcp.sharing`.
        offer: What gave the provider the key.
    """

    ticket: int
    mac: bytes = attrs.field(repr=False)
    offer: bytes = attrs.field(repr=False)


@attrs.frozen
class Proven:
    """The answer to `Prove`: the agent's signature."""

    ticket: int
    signature: bytes = attrs.field(repr=False)


@attrs.frozen
class SigningFailed:
    """The other answer to `SignRequest` and `Prove`; calls are denied with it."""

    ticket: int
    sentence: str


@attrs.frozen
class ServerLost:
    """The server or the way to it is gone; `sentence` says so to the person.

    Every request that still waits is answered with an error, and so is every
    later one, until `ServerBack`.
    """

    sentence: str
    advice: str = ""


@attrs.frozen
class ServerBack:
    """The way to the server is open again."""


@attrs.frozen
class Renewed:
    """The agent has a new certificate: its node's operational key rotated.

    At `Position.INGRESS` the driver has read it with
    `enforcement.principal.read_principal_untrusted`.
    """

    principal: Principal


Event: TypeAlias = (
    ClientMessage
    | ServerMessage
    | RequestSigned
    | RequestShared
    | Proven
    | SigningFailed
    | ServerLost
    | ServerBack
    | Renewed
)
