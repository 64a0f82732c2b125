"""A node's own keys: born once, renewed by the root key, fresh at each start.

::

    keys/root.seed      made by `picket init`; to be kept offline
    keys/renewal.seed   signs a fresh operational key at each start, and daily
    renewal.cert        root public key and the root's word for the renewal key
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs

from gossip import limits
from gossip.domains import Domain
from gossip.errors import PeerError, UserError
from gossip.membership.identity import (
    AgentCert,
    Chain,
    certify,
    certify_agent,
    encode_chain,
    node_id,
    read_agent_cert_untrusted,
    read_chain_untrusted,
)
from gossip.suite import SigningKey, Suite
from gossip.units import NodeId, UnixMs
from gossip.wire import pack, take_bytes, take_list, unpack_untrusted
from node.keys.keystore import RENEWAL, ROOT, Keystore, replace_file
from node.keys.suites.registry import SuiteWithKeys

CERTIFICATE: Final = "renewal.cert"
_NEVER: Final = UnixMs(0)


@attrs.frozen
class NodeKeys:
    """What one node signs with now."""

    signing_key: SigningKey = attrs.field(repr=False)
    chain: Chain
    seed: bytes = attrs.field(repr=False)
    """The operational seed, for libp2p's Ed25519 identity. Never stored."""


@attrs.frozen
class AgentKeys:
    """What one agent signs with, and its node's word for it."""

    signing_key: SigningKey = attrs.field(repr=False)
    certificate: AgentCert


def bear_node(state: Path, suite: SuiteWithKeys, now_ms: UnixMs) -> NodeId:
    """Make a node's root and renewal keys in ``state``.

    Raises:
        UserError: there are keys already.
    """
    keystore = Keystore(state / "keys")
    root_seed = suite.generate_seed()
    keystore.store(ROOT, root_seed)
    keystore.store(RENEWAL, suite.generate_seed())
    return renew_node(state, root_seed, suite, now_ms)


def renew_node(
    state: Path, root_seed: bytes, suite: SuiteWithKeys, now_ms: UnixMs
) -> NodeId:
    """Let the root key vouch for the renewal key for another 90 days.

    Raises:
        UserError: the renewal key is missing, or the root key is not this
            node's.
    """
    root = suite.signing_key_from_seed(root_seed)
    renewal = suite.signing_key_from_seed(Keystore(state / "keys").load(RENEWAL))
    path = state / CERTIFICATE
    if path.exists() and _read_certificate(path)[0] != root.public_key:
        raise UserError(f"{path}: belongs to another root key than the one given")
    certificate = certify(
        root,
        Domain.RENEWAL_CERT,
        renewal.public_key,
        now_ms,
        UnixMs(now_ms + limits.RENEWAL_LIFE_MS),
    )
    replace_file(path, pack([root.public_key, certificate]))
    return node_id(root.public_key)


def certified_node(state: Path) -> NodeId:
    """The id of the node whose certificate lies in ``state``.

    Raises:
        UserError: missing or broken.
    """
    return node_id(_read_certificate(state / CERTIFICATE)[0])


def fresh_keys(state: Path, suite: SuiteWithKeys, now_ms: UnixMs) -> NodeKeys:
    """Make an operational key for the next 24 hours.

    Raises:
        UserError: keys or certificate missing, broken, or expired.
    """
    renewal = suite.signing_key_from_seed(Keystore(state / "keys").load(RENEWAL))
    path = state / CERTIFICATE
    root_public_key, renewal_certificate = _read_certificate(path)
    seed = suite.generate_seed()
    key = suite.signing_key_from_seed(seed)
    operational = certify(
        renewal,
        Domain.OPERATIONAL_CERT,
        key.public_key,
        UnixMs(max(0, now_ms - limits.BACKDATED_MS)),
        UnixMs(now_ms + limits.OPERATIONAL_LIFE_MS),
    )
    encoded = encode_chain(root_public_key, renewal_certificate, operational)
    try:
        chain = read_chain_untrusted(encoded, suite)
    except PeerError as wrong:
        raise UserError(
            f"{path}: does not certify this node's renewal key: {wrong}"
        ) from None
    if not chain.covers(now_ms):
        ends = datetime.fromtimestamp(chain.not_after_ms / 1_000, UTC)
        raise UserError(
            f"{path}: expired or not valid yet (ends {ends:%Y-%m-%d %H:%M} UTC); bring"
            " the root key and run `picket renew`"
        )
    return NodeKeys(key, chain, seed)


def renewal_ends_ms(state: Path, suite: Suite) -> UnixMs:
    """When the renewal certificate expires.

    Raises:
        UserError: missing or broken.
    """
    path = state / CERTIFICATE
    root, certificate = _read_certificate(path)
    try:
        body_value, signature = take_list(
            unpack_untrusted(certificate, limits.CHAIN_BYTES_MAX), 2, 2
        )
        body = take_bytes(body_value, 1, limits.CHAIN_BYTES_MAX)
        suite.verify(root, body, take_bytes(signature, 1, 8_192), Domain.RENEWAL_CERT)
        fields = take_list(unpack_untrusted(body, limits.CHAIN_BYTES_MAX), 5, 5)
    except PeerError as wrong:
        raise UserError(f"{path}: broken: {wrong}") from None
    end = fields[4]
    return UnixMs(end) if type(end) is int else _NEVER


def agent_keys(
    state: Path, name: str, roles: tuple[str, ...], node: NodeKeys, suite: SuiteWithKeys
) -> AgentKeys:
    """Load an agent's key and certify it for as long as the node's own key.

    Raises:
        UserError: the agent's key is missing.
    """
    seed = Keystore(state / "keys").load(agent_secret(name))
    key = suite.signing_key_from_seed(seed)
    encoded = certify_agent(
        node.signing_key,
        node.chain.node,
        key.public_key,
        name,
        roles,
        node.chain.not_before_ms,
        node.chain.not_after_ms,
    )
    return AgentKeys(key, read_agent_cert_untrusted(encoded, suite, node.chain))


def agent_secret(name: str) -> str:
    """What the keystore calls an agent's seed."""
    return f"agent-{name}"


def _read_certificate(path: Path) -> tuple[bytes, bytes]:
    try:
        data = path.read_bytes()
        root, certificate = take_list(
            unpack_untrusted(data, limits.CHAIN_BYTES_MAX), 2, 2
        )
        return (
            take_bytes(root, 1, limits.CHAIN_BYTES_MAX),
            take_bytes(certificate, 1, limits.CHAIN_BYTES_MAX),
        )
    except FileNotFoundError:
        raise UserError(
            f"{path}: missing; `picket init` makes it, `picket renew` makes it anew"
        ) from None
    except (OSError, PeerError) as wrong:
        raise UserError(f"{path}: cannot be read: {wrong}") from None
