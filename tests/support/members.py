"""Ready-made members of a cluster, from one seed, in any suite."""

import base64
import hashlib
from typing import Protocol

import attrs

from gossip.domains import Domain
from gossip.membership.acts import draft_act, join_act, sign_act
from gossip.membership.founders import ActKind, Founders, parse_founders
from gossip.membership.identity import (
    Chain,
    certify,
    encode_chain,
    node_id,
    read_chain_untrusted,
)
from gossip.membership.roster import Roster
from gossip.suite import SigningKey, Suite
from gossip.units import NodeId, UnixMs
from gossip.wire import Value

NOW = UnixMs(1_800_000_000_000)
HOUR = 3_600_000


class KeySuite(Suite, Protocol):
    """A suite that can also make keys."""

    def signing_key_from_seed(self, seed: bytes) -> SigningKey:
        """The key of a 64-byte seed."""
        ...


def seed_of(*words: str) -> bytes:
    """64 bytes that depend on ``words`` and nothing else."""
    return hashlib.sha512(" ".join(words).encode()).digest()


@attrs.frozen
class Member:
    """One node with all its keys."""

    name: str
    node: NodeId = attrs.field(repr=bytes.hex)
    chain: Chain
    key: SigningKey


def member(suite: KeySuite, name: str, turn: int = 0, at: int = NOW) -> Member:
    """The member called ``name`` with its ``turn``-th operational key."""
    root = suite.signing_key_from_seed(seed_of(name, "root"))
    renewal = suite.signing_key_from_seed(seed_of(name, "renewal"))
    key = suite.signing_key_from_seed(seed_of(name, "operational", str(turn)))
    begin, end = UnixMs(at - HOUR), UnixMs(at + 20 * HOUR)
    encoded = encode_chain(
        root.public_key,
        certify(root, Domain.RENEWAL_CERT, renewal.public_key, begin, end),
        certify(renewal, Domain.OPERATIONAL_CERT, key.public_key, begin, end),
    )
    return Member(
        name,
        node_id(root.public_key),
        read_chain_untrusted(encoded, suite),
        key,
    )


def founders_text(suite: KeySuite, names: list[str], operators: int = 3) -> str:
    """A founders' file for these members and ``ops-0``, ``ops-1``, …"""
    lines = ['cluster = "testtown"']
    for name in names:
        root = suite.signing_key_from_seed(seed_of(name, "root"))
        lines += [
            "[[node]]",
            f'name = "{name}"',
            f'id = "{node_id(root.public_key).hex()}"',
            'addresses = ["127.0.0.1:7946"]',
            'grants = ["admin", "retail", "hr"]',
            f'servers = ["{name}-db"]',
        ]
    for i in range(operators):
        encoded = base64.b64encode(operator_key(suite, i).public_key).decode()
        lines += [
            "[[operator]]",
            f'name = "ops-{i}"',
            f'public_key = "{encoded}"',
        ]
    return "\n".join(lines) + "\n"


def founders(suite: KeySuite, names: list[str], operators: int = 3) -> Founders:
    """`founders_text`, read."""
    return parse_founders(founders_text(suite, names, operators), "founders.toml")


def roster(suite: KeySuite, names: list[str]) -> Roster:
    """A roster that knows every member's first chain."""
    known = Roster(founders(suite, names))
    for name in names:
        known.learn(member(suite, name).chain)
    return known


def operator_key(suite: KeySuite, i: int) -> SigningKey:
    """The key of ``ops-i``."""
    return suite.signing_key_from_seed(seed_of("operator", str(i)))


def act(
    suite: KeySuite,
    known: Founders,
    payload: Value,
    *,
    kind: ActKind = ActKind.RELEASE,
    at: int = NOW,
    life_ms: int = HOUR,
    signers: tuple[int, ...] = (0, 1),
) -> bytes:
    """An act signed by some of the operators."""
    draft = draft_act(
        known.cluster, kind, at, UnixMs(at), UnixMs(at + life_ms), payload
    )
    return join_act(draft, [sign_act(draft, operator_key(suite, i)) for i in signers])
