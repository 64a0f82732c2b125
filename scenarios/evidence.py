"""Policy and proofs in a simulation: the product's own, under keys of the toy suite.

A scenario's `rules` are Cedar, as a daemon's are. `OFFENCE` is always among them,
so that every story has something to convict by.
"""

from functools import cache
from typing import Final

import attrs

from enforcement.decide.court import Offence
from enforcement.decide.evidence import build_proof, read_proof_untrusted
from enforcement.defend.policy import Policy
from enforcement.mcp.leaves import SEED_BYTES, commit
from enforcement.mcp.signing import REQUEST_ID_BYTES, Envelope, RequestBody, write_body
from enforcement.principal import Principal, Principals, read_principal_untrusted
from enforcement.reporting import offence
from gossip.errors import PeerError
from gossip.membership.identity import certify_agent
from gossip.membership.roster import Roster
from gossip.suite import SIGNATURE_BYTES, Suite
from gossip.units import NodeId, UnixMs
from scenarios.people import DAWN_MS, KeySuite, Person, agent_key

SERVER: Final = "tools"
"""What the MCP server of every node is called."""
HOSTILE_TOOL: Final = "offend"
PERMIT: Final = "permit(principal, action, resource);\n"
"""The rules of a scenario that has none."""
OFFENCE: Final = f"""
@id("offence") @severity("9") @category("privilege-escalation")
forbid(principal, action == Action::"tools/call", resource)
when {{ resource.name == "{HOSTILE_TOOL}" }};
"""
_DAY_MS: Final = 86_400_000
_KNOWN_MAX: Final = 4_096


@cache
def load_policy(rules: str) -> Policy:
    """The policy of a scenario; one for all nodes and runs, since it never changes.

    Raises:
        UserError: naming the mistake in the rules.
    """
    return Policy.load({"offence.cedar": OFFENCE, "scenario.cedar": rules or PERMIT})


def principal_of(suite: KeySuite, roster: Roster, who: Person, role: str) -> Principal:
    """The agent of a node that has this one role, certified with its present key."""
    cert = certify_agent(
        who.key,
        who.node,
        agent_key(suite, who.name, role).public_key,
        f"{role or 'agent'}-of-{who.name}",
        (role,) if role else (),
        UnixMs(DAWN_MS - _DAY_MS // 24),
        UnixMs(DAWN_MS + _DAY_MS),
    )
    return read_principal_untrusted(cert, chain=who.chain, roster=roster, suite=suite)


def forge(
    suite: KeySuite,
    roster: Roster,
    policy: Policy,
    accused: Person,
    audience: Person,
    at_ms: UnixMs,
) -> bytes:
    """The best a slanderer can do: everything true but the two signatures."""
    principal = principal_of(suite, roster, accused, "")
    return forge_about(principal, audience.node, suite, roster, policy, at_ms)


def forge_about(
    principal: Principal,
    audience: NodeId,
    suite: Suite,
    roster: Roster,
    policy: Policy,
    at_ms: UnixMs,
) -> bytes:
    """A proof that this agent and its node broke `OFFENCE`, signed by nobody."""
    leaves = commit({"name": HOSTILE_TOOL}, suite.random(SEED_BYTES))
    body = RequestBody(
        cluster=roster.cluster,
        node=principal.node,
        agent=principal.agent,
        key=principal.chain.key,
        cert=principal.cert_digest,
        audience=audience,
        server=SERVER,
        method="tools/call",
        tool=HOSTILE_TOOL,
        request_id=suite.random(REQUEST_ID_BYTES),
        issued_at_ms=at_ms,
        bundle=policy.digest,
        root=leaves.root,
        count=leaves.count,
    )
    proof = build_proof(
        envelope=Envelope(
            body=body,
            encoded_body=write_body(body),
            agent_signature=bytes(SIGNATURE_BYTES),
            node_signature=bytes(SIGNATURE_BYTES),
            seed=bytes(SEED_BYTES),
        ),
        leaves=leaves,
        principal=principal,
        params={"name": HOSTILE_TOOL},
        policy=policy,
        rule=policy.rules["offence"],
    )
    assert proof is not None, "it opens nothing that is secret"
    return proof


@attrs.define
class ProofReader:
    """Judges proofs for all courts of a simulated cluster, each proof once.

    Implements `enforcement.decide.court.ReadProof`. What a proof proves is the same
    at every node, for nothing but the founders' file and the policy enters.
    """

    suite: KeySuite
    roster: Roster
    policy: Policy
    _principals: Principals = attrs.field(init=False)
    _known: dict[bytes, Offence | PeerError | None] = attrs.field(
        init=False, factory=dict
    )

    def __attrs_post_init__(self) -> None:
        self._principals = Principals(self.roster, self.suite)

    def __call__(self, data: bytes) -> Offence | None:
        """What a proof proves; None if it names another policy.

        Raises:
            PeerError: it proves nothing.
        """
        if data not in self._known:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[data] = self._judge(data)
        found = self._known[data]
        if isinstance(found, PeerError):
            raise found
        return found

    def _judge(self, data: bytes) -> Offence | PeerError | None:
        try:
            proven = read_proof_untrusted(
                data,
                roster=self.roster,
                suite=self.suite,
                policies=lambda digest: (
                    self.policy if digest == self.policy.digest else None
                ),
                known=self._principals,
            )
        except PeerError as wrong:
            return wrong
        if proven is None:
            return None
        return offence(proven)
