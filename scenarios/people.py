"""Who lives in a simulated cluster: every key from a name, so that runs repeat.

All of them are founders. Nothing here is secret, and nothing is random.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import attrs

from gossip.domains import Domain
from gossip.membership.acts import draft_act, join_act, sign_act
from gossip.membership.admittance import Card
from gossip.membership.founders import ActKind, Founder, Founders, Operator
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

DAWN_MS = UnixMs(1_800_000_000_000)
"""When every simulation begins, by a right clock."""
OPERATORS = 3
_HOUR_MS = 3_600_000
_GROWN_MS = 30 * 24 * _HOUR_MS


class KeySuite(Suite, Protocol):
    """A suite that can also make keys."""

    def signing_key_from_seed(self, seed: bytes) -> SigningKey:
        """The key of a 64-byte seed."""
        ...


@attrs.frozen
class Person:
    """One node's keys, and the chain it shows."""

    name: str
    node: NodeId = attrs.field(repr=bytes.hex)
    chain: Chain
    key: SigningKey = attrs.field(repr=False)


def person(suite: KeySuite, name: str, turn: int = 0) -> Person:
    """The node called ``name``, with its ``turn``-th operational key."""
    root = suite.signing_key_from_seed(_seed(name, "root"))
    renewal = suite.signing_key_from_seed(_seed(name, "renewal"))
    key = suite.signing_key_from_seed(_seed(name, "operational", str(turn)))
    begin, end = UnixMs(DAWN_MS - _HOUR_MS), UnixMs(DAWN_MS + 40 * _HOUR_MS)
    encoded = encode_chain(
        root.public_key,
        certify(root, Domain.RENEWAL_CERT, renewal.public_key, begin, end),
        certify(renewal, Domain.OPERATIONAL_CERT, key.public_key, begin, end),
    )
    chain = read_chain_untrusted(encoded, suite)
    return Person(name, node_id(root.public_key), chain, key)


def agent_key(suite: KeySuite, name: str, role: str) -> SigningKey:
    """The key of the agent with this role beside the node called ``name``."""
    return suite.signing_key_from_seed(_seed(name, "agent", role))


def found(
    suite: KeySuite,
    people: Sequence[Person],
    colluders: int | None = None,
    grants: frozenset[str] = frozenset(),
) -> Roster:
    """The roster of a cluster of these people, none of whose chains is known yet.

    ``grants`` are the roles that each of them may give its agents.
    """
    return Roster(
        Founders(
            cluster_name="simulated",
            nodes=tuple(
                Founder(
                    name=one.name,
                    node=one.node,
                    addresses=(),
                    grants=grants,
                    servers=(),
                )
                for one in people
            ),
            operators=tuple(
                Operator(name=f"ops-{i}", public_key=_operator(suite, i).public_key)
                for i in range(OPERATORS)
            ),
            quorum=dict.fromkeys(ActKind, 2),
            colluders=colluders,
        )
    )


def sponsor(
    roster: Roster, newcomers: Sequence[Person], by: int, grants: frozenset[str]
) -> None:
    """Let the founder with this number bring people in, long before the story."""
    founders = roster.members()
    endorsers = [founders[(by + n) % len(founders)] for n in range(roster.endorsements)]
    for one in newcomers:
        member = Founder(
            name=one.name, node=one.node, addresses=(), grants=grants, servers=()
        )
        card = Card(member=member, sponsor=endorsers[0].node)
        for endorser in endorsers:
            roster.endorse(card, endorser.node, UnixMs(DAWN_MS - _GROWN_MS))


def act(suite: KeySuite, roster: Roster, at_ms: UnixMs, payload: Value) -> bytes:
    """A release signed by a quorum of the operators."""
    draft = draft_act(
        roster.cluster,
        ActKind.RELEASE,
        at_ms,
        at_ms,
        UnixMs(at_ms + _HOUR_MS),
        payload,
    )
    return join_act(draft, [sign_act(draft, _operator(suite, i)) for i in (0, 1)])


def _operator(suite: KeySuite, i: int) -> SigningKey:
    return suite.signing_key_from_seed(_seed("operator", str(i)))


def _seed(*words: str) -> bytes:
    return hashlib.sha512(" ".join(words).encode()).digest()
