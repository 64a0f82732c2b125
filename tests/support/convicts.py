"""Signed requests that a hostile rule forbids, proofs of them, and who reports them."""

import io
from pathlib import Path

import attrs

from enforcement.decide.evidence import build_proof
from enforcement.defend.policy import Policy
from enforcement.mcp.leaves import commit
from enforcement.mcp.signing import Envelope, RequestBody, write_body
from enforcement.mcp.strictjson import Json
from enforcement.principal import read_principal_untrusted
from gossip import events, limits
from gossip.domains import Domain
from gossip.ledger.batch import draft_batch, read_batch_untrusted
from gossip.ledger.entries import (
    EntryKind,
    Keys,
    Proof,
    Report,
    Subject,
    SubjectKind,
    write_keys,
    write_report,
)
from gossip.membership.identity import certify_agent
from gossip.spread import frames
from gossip.suite import SigningKey
from gossip.units import ClusterId, Incarnation, NodeId, UnixMs
from node import birth
from node.clock import SystemClock
from node.config import load_config
from node.daemon import Daemon
from node.keys.node_keys import NodeKeys, fresh_keys
from node.keys.suites.registry import SuiteWithKeys
from node.log import Log
from node.systemd.notify import Notifier
from tests.support.sessions import PERMIT, Agent

RULE = PERMIT + (
    '@id("no-drop") @severity("8")\n'
    'forbid(principal, action == Action::"tools/call", resource)\n'
    'when { context.params has query && context.words.query.contains("drop") };\n'
)
FILE = "rules.cedar"
POLICY = Policy.load({FILE: RULE})


def prove(
    agent: Agent,
    node: SigningKey,
    cluster: ClusterId,
    audience: NodeId,
    n: int,
    at: int,
) -> bytes:
    """The proof of an agent's ``n``-th hostile request, signed by it and its node."""
    arguments: dict[str, Json] = {"query": f"drop table t{n}", "who": "x", "n": n}
    params: dict[str, Json] = {"name": "write_query", "arguments": arguments}
    principal, seed = agent.principal, n.to_bytes(32, "big")
    leaves = commit(params, seed)
    body = RequestBody(
        cluster=cluster,
        node=principal.node,
        agent=principal.agent,
        key=principal.chain.key,
        cert=principal.cert_digest,
        audience=audience,
        server="sql",
        method="tools/call",
        tool="write_query",
        request_id=n.to_bytes(16, "big"),
        issued_at_ms=UnixMs(at),
        bundle=POLICY.digest,
        root=leaves.root,
        count=leaves.count,
    )
    encoded = write_body(body)
    proof = build_proof(
        envelope=Envelope(
            body=body,
            encoded_body=encoded,
            agent_signature=agent.key.sign(encoded, Domain.REQUEST_AGENT),
            node_signature=node.sign(encoded, Domain.REQUEST_NODE),
            seed=seed,
        ),
        leaves=leaves,
        principal=principal,
        params=params,
        policy=POLICY,
        rule=POLICY.rules["no-drop"],
    )
    assert proof is not None
    return proof


@attrs.define
class Scene:
    """A daemon that is not run, so that nothing happens but what it is told; a
    reporter it hears of by frames; and a rogue node, whose agents are convicted.

    Attributes:
        heard: Every frame the reporter sent.
    """

    daemon: Daemon
    suite: SuiteWithKeys
    reporter: NodeKeys
    rogue: NodeKeys
    heard: list[events.Frame] = attrs.field(init=False, factory=list)
    _previous: bytes = attrs.field(init=False, default=bytes(32))

    @classmethod
    def of(cls, home: Path, suite: SuiteWithKeys) -> "Scene":
        """Bring it up in an empty folder. Both others have spoken before."""
        now, names = SystemClock().unix_ms(), ("judge", "reporter", "rogue")
        for at, name in enumerate(names):
            listen = (("127.0.0.1", 7_000 + at),)
            new = birth.NewNode(name=name, listen=listen, grants=("retail",))
            birth.make_node(home / name, new, {FILE: RULE}, suite, now)
        _, card = birth.make_operator(home, "opal", suite)
        cards = [home / name / birth.CARD for name in names]
        birth.join_founders("bank", cards, [card], home / names[0] / "founders.toml")
        reporter, rogue = (
            fresh_keys(load_config(home / name / "config.toml").state, suite, now)
            for name in names[1:]
        )
        daemon = _daemon(home / names[0] / "config.toml", rogue)
        scene = cls(daemon, suite, reporter, rogue)
        daemon.driver.handle(scene.say(_keys(reporter)))
        return scene

    def restart(self) -> None:
        """Another daemon from the same folder, in the place of the first."""
        self.daemon = _daemon(self.daemon.config.file, self.rogue)

    def agent(self, name: str) -> Agent:
        """A new agent of the rogue."""
        key = self.suite.signing_key_from_seed(self.suite.generate_seed())
        now = SystemClock().unix_ms()
        cert = certify_agent(
            self.rogue.signing_key,
            self.rogue.chain.node,
            key.public_key,
            name,
            ("retail",),
            now,
            UnixMs(now + limits.DAY_MS),
        )
        principal = read_principal_untrusted(
            cert, chain=self.rogue.chain, roster=self.daemon.roster, suite=self.suite
        )
        return Agent(principal, key)

    def accuse(self, agent: Agent) -> events.Frame:
        """The frame with which the reporter proves what an agent's request broke."""
        proof = prove(
            agent,
            self.rogue.signing_key,
            self.daemon.roster.cluster,
            self.reporter.chain.node,
            len(self.heard),
            SystemClock().unix_ms(),
        )
        report = Report(
            subject=Subject(SubjectKind.NODE, self.rogue.chain.node),
            category="hostile-request",
            severity=8,
            evidence=Proof(data=proof),
        )
        return self.say((int(EntryKind.REPORT), write_report(report)))

    def say(self, *entries: tuple[int, bytes]) -> events.Frame:
        """The reporter's next batch, as it arrives here."""
        draft = draft_batch(
            cluster=self.daemon.roster.cluster,
            author=self.reporter.chain.node,
            incarnation=Incarnation(b"x" * 16),
            number=len(self.heard),
            previous=self._previous,
            issued_at_ms=SystemClock().unix_ms(),
            key=self.reporter.chain.key,
            entries=[*entries],
        )
        encoded = draft.join(self.reporter.signing_key.sign(draft.header, Domain.BATCH))
        self._previous = read_batch_untrusted(encoded).id
        self.heard.append(events.Frame(self.reporter.chain.node, frames.push(encoded)))
        return self.heard[-1]


def _daemon(config: Path, rogue: NodeKeys) -> Daemon:
    log = Log(stream=io.StringIO())
    daemon = Daemon(load_config(config), log=log, manager=Notifier(None, None))
    daemon.roster.learn(rogue.chain)
    daemon.justice.restored()
    daemon.response.restored()
    return daemon


def _keys(node: NodeKeys) -> tuple[int, bytes]:
    keys = write_keys(Keys(chain=node.chain.encoded, closes=None))
    return int(EntryKind.KEYS), keys
