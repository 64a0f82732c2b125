"""A small cluster for gate tests: agents, their nodes, and gates joined in memory."""

import json
from collections.abc import Mapping
from typing import TypeVar

import attrs

from enforcement.defend.bundles import Bundles
from enforcement.defend.policy import Policy
from enforcement.defend.rate import Rate, RateLimiter
from enforcement.defend.replay import ReplayWindow
from enforcement.defend.testimony import WitnessBudget
from enforcement.effects import (
    Effect,
    Position,
    SignRequest,
    Subject,
    ToServer,
)
from enforcement.events import ClientMessage, RequestSigned
from enforcement.gate import Gate
from enforcement.post import Post
from enforcement.principal import Principal, read_principal_untrusted
from gossip.domains import Domain
from gossip.membership.founders import ActKind, Founder, Founders, Operator
from gossip.membership.identity import certify_agent
from gossip.membership.roster import Roster
from gossip.suite import SigningKey
from gossip.units import UnixMs
from tests.support.births import NOW, SUITE, Newborn, newborn

PERMIT = "permit(principal, action, resource);\n"
T = TypeVar("T", bound=Effect)
ALL_ROLES = frozenset({"admin", "retail", "hr", "clerk"})


@attrs.frozen
class Agent:
    """An agent and the key it signs with."""

    principal: Principal
    key: SigningKey = attrs.field(repr=False)


@attrs.define
class Town:
    """Two branches and the ledger's node, whose server is called ``sql``."""

    branch: Newborn = attrs.field(factory=newborn)
    other: Newborn = attrs.field(factory=newborn)
    ledger: Newborn = attrs.field(factory=newborn)
    grants: frozenset[str] = ALL_ROLES
    roster: Roster = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        operator = SUITE.signing_key_from_seed(SUITE.generate_seed())
        self.roster = Roster(
            Founders(
                cluster_name="town",
                nodes=(
                    _founder("branch", self.branch, self.grants),
                    _founder("other", self.other, self.grants),
                    _founder("ledger", self.ledger, self.grants, "sql"),
                ),
                operators=(Operator(name="ops", public_key=operator.public_key),),
                quorum=dict.fromkeys(ActKind, 1),
                colluders=None,
            )
        )

    def agent(self, name: str, *roles: str, node: Newborn | None = None) -> Agent:
        """A certified agent of a node (the branch)."""
        node = node or self.branch
        key = SUITE.signing_key_from_seed(SUITE.generate_seed())
        return self.certify(name, roles, node, key)

    def certify(
        self, name: str, roles: tuple[str, ...], node: Newborn, key: SigningKey
    ) -> Agent:
        """Certify a key under the node's present operational key."""
        cert = certify_agent(
            node.signing_key,
            node.node,
            key.public_key,
            name,
            roles,
            NOW,
            UnixMs(NOW + 86_400_000),
        )
        principal = read_principal_untrusted(
            cert, chain=node.chain, roster=self.roster, suite=SUITE
        )
        return Agent(principal, key)


def _founder(
    name: str, node: Newborn, grants: frozenset[str], *servers: str
) -> Founder:
    return Founder(
        name=name, node=node.node, addresses=(), grants=grants, servers=servers
    )


def post(
    town: Town,
    policy: Policy,
    refused: set[Subject] | None = None,
    rate: Rate | None = None,
) -> Post:
    """What the gates of one node share."""
    denied = set() if refused is None else refused
    return Post(
        cluster=town.roster.cluster,
        suite=SUITE,
        bundles=Bundles(policy),
        rates=RateLimiter(rate or Rate(per_second=1_000, burst=1_000)),
        replay=ReplayWindow(since_ms=NOW),
        witnesses=WitnessBudget(),
        is_refused=denied.__contains__,
    )


def gate(position: Position, town: Town, agent: Agent, shared: Post) -> Gate:
    """A gate for a session with the ledger's SQL server."""
    local = position is Position.LOCAL
    return Gate(
        position=position,
        principal=agent.principal,
        server="sql",
        audience=agent.principal.node if local else town.ledger.node,
        post=shared,
    )


def call(tool: str, key: int | str = 1, **arguments: object) -> bytes:
    """A ``tools/call``."""
    return message("tools/call", key, name=tool, arguments=arguments)


def message(method: str, key: int | str | None = None, **params: object) -> bytes:
    """A request, or without a key a notification."""
    head: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(head if key is None else {**head, "id": key}).encode()


def answer(key: int | str, **result: object) -> bytes:
    """The server's answer."""
    return json.dumps({"jsonrpc": "2.0", "id": key, "result": result}).encode()


def sign(effect: SignRequest, agent: Agent, node: Newborn) -> RequestSigned:
    """What the driver does with `SignRequest`."""
    return RequestSigned(
        effect.ticket,
        agent.key.sign(effect.body, Domain.REQUEST_AGENT),
        node.signing_key.sign(effect.body, Domain.REQUEST_NODE),
    )


def leave(
    egress: Gate, data: bytes, agent: Agent, node: Newborn, now: UnixMs = NOW
) -> ClientMessage:
    """Send a request through an egress gate that allows it, to the wire."""
    (asked,) = of(egress.handle(ClientMessage(data), now), SignRequest)
    (sent,) = of(egress.handle(sign(asked, agent, node), now), ToServer)
    return ClientMessage(sent.data, sent.envelope)


def of(effects: list[Effect], kind: type[T]) -> list[T]:
    """Those effects that are of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def told(data: bytes) -> Mapping[str, str]:
    """What a denial says: its message, rule, reason and advice."""
    error = json.loads(data)["error"]
    said: dict[str, str] = {"message": error["message"], **error["data"]["picket"]}
    return said
