"""MCP calls between simulated nodes, through the production gates and their policy.

::

    agent ─▶ egress gate ─▶ sign ─▶ network ─▶ ingress gate ─▶ server
    agent ◀─ egress gate ◀───────── network ◀─ ingress gate ◀─ server

Gates, policy, pins, trust, envelopes and proofs are the daemon's; the agent, the
server and the mesh between the nodes are made up. A hostile node differs in one
thing: its egress gate signs whatever it is told.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Final

import attrs

from enforcement import effects, events
from enforcement.defend.bundles import Bundles
from enforcement.defend.policy import Call, Decision, Policy
from enforcement.defend.rate import Rate, RateLimiter
from enforcement.defend.replay import ReplayWindow
from enforcement.defend.session import TrustBook
from enforcement.defend.testimony import WitnessBudget
from enforcement.detect.pins import Pins
from enforcement.effects import Position
from enforcement.gate import Gate
from enforcement.mcp.jsonrpc import Reason
from enforcement.post import Post
from enforcement.reporting import for_court, proof_report, witness_report
from gossip.domains import Domain
from gossip.ledger.entries import Report, Subject, SubjectKind
from gossip.suite import SigningKey
from gossip.units import NodeId
from scenarios.citizen import Citizen
from scenarios.evidence import HOSTILE_TOOL, SERVER, load_policy, principal_of
from scenarios.figures import Figures
from scenarios.network import Link
from scenarios.people import agent_key
from scenarios.script import Step
from scenarios.world import World

SERVER_US: Final = 1_000
"""How long a server thinks."""


class BlindPolicy(Policy):
    """Has the bundle's digest, and allows everything."""

    def decide(self, call: Call) -> Decision:
        """Whatever is asked."""
        del call
        return Decision(allow=True, reason=Reason.ALLOWED)


@attrs.define(eq=False)
class _Session:
    """One agent's session with one server: a gate at each end, two ways between."""

    caller: Citizen
    provider: Citizen
    key: SigningKey
    egress: Gate
    ingress: Gate
    there: Link
    back: Link
    lives: tuple[int, int]
    asked: int = 0
    open: dict[int, tuple[Step, int]] = attrs.field(factory=dict)
    """Of each call that waits: its step, and since when."""

    @property
    def honest(self) -> bool:
        """Whether both nodes are."""
        return self.caller.role.honest and self.provider.role.honest

    @property
    def stands(self) -> bool:
        """Whether both ends still live the lives in which it began."""
        both = (self.caller, self.provider)
        return tuple(c.life for c in both) == self.lives and all(c.is_up for c in both)


@attrs.define
class Calling:
    """Lets the agents of a world call the servers of a world."""

    world: World
    figures: Figures
    _sessions: dict[tuple[int, int, str, bool], _Session] = attrs.field(
        init=False, factory=dict
    )
    _posts: dict[int, tuple[int, Post]] = attrs.field(init=False, factory=dict)

    def call(self, citizen: Citizen, provider: Citizen, step: Step) -> None:
        """Let an agent beside ``citizen`` call a tool beside ``provider``."""
        if not citizen.is_up:
            return
        blind = not citizen.role.honest
        session = self._session(citizen, provider, step.role, blind)
        self._ask(session, step)

    def offend(self, citizen: Citizen, witness: Citizen) -> None:
        """Let ``citizen`` sign a hostile request that ``witness`` receives."""
        step = Step(at_s=0, does="offend", tool=HOSTILE_TOOL, forbidden=True)
        if citizen.is_up and witness.is_up:
            self._ask(self._session(citizen, witness, "", True), step)

    # --- gates ------------------------------------------------------------------------

    def _session(
        self, citizen: Citizen, provider: Citizen, role: str, blind: bool
    ) -> _Session:
        key = (citizen.index, provider.index, role, blind)
        held = self._sessions.get(key)
        world = self.world
        if held is not None and held.lives == (citizen.life, provider.life):
            if held.egress.principal.chain.key != citizen.who.chain.key:
                self._renew(held, role)
            return held
        principal = principal_of(world.suite, world.roster, citizen.who, role)

        def gate(position: Position, post: Post) -> Gate:
            return Gate(
                position=position,
                principal=principal,
                server=SERVER,
                audience=provider.node,
                post=post,
            )

        own = self._post(citizen)
        session = self._sessions[key] = _Session(
            caller=citizen,
            provider=provider,
            key=agent_key(world.suite, citizen.name, role),
            egress=gate(Position.EGRESS, _blinded(own) if blind else own),
            ingress=gate(Position.INGRESS, self._post(provider)),
            there=world.network.link(citizen.index, provider.index),
            back=world.network.link(provider.index, citizen.index),
            lives=(citizen.life, provider.life),
        )
        return session

    def _renew(self, session: _Session, role: str) -> None:
        """The caller's key has rotated: its agent is certified anew, on both sides."""
        world, who = self.world, session.caller.who
        renewed = events.Renewed(principal_of(world.suite, world.roster, who, role))
        self._tell(session, session.ingress, renewed)
        self._tell(session, session.egress, renewed)

    def _post(self, citizen: Citizen) -> Post:
        """What all gates of a node share while it lives this life."""
        life, post = self._posts.get(citizen.index, (0, None))
        if post is None or life != citizen.life:
            usual = self.world.scenario.cluster.calls_per_s
            post = Post(
                cluster=self.world.roster.cluster,
                suite=self.world.suite,
                bundles=Bundles(load_policy(self.world.scenario.rules)),
                rates=RateLimiter(
                    default=Rate(per_second=usual, burst=max(1, round(2 * usual)))
                ),
                replay=ReplayWindow(since_ms=citizen.began_ms),
                witnesses=WitnessBudget(),
                is_refused=partial(self._is_refused, citizen),
                pins=Pins(),
                trust=TrustBook(),
                proves=True,
            )
            self._posts[citizen.index] = (citizen.life, post)
        return post

    def _is_refused(self, citizen: Citizen, who: effects.Subject) -> bool:
        subject = for_court(who.kind, who.id)
        court = citizen.court
        if court is None or court.denial(subject) is not None:
            return True
        now = citizen.clock.unix_ms(self.world.agenda.now_us)
        return subject.kind is SubjectKind.NODE and court.isolated(NodeId(who.id), now)

    # --- driving them ------------------------------------------------------------------

    def _ask(self, session: _Session, step: Step) -> None:
        self.figures.called(step, session.egress.principal, session.honest)
        session.asked += 1
        session.open[session.asked] = (step, self.world.agenda.now_us)
        said: dict[str, object] = {"name": step.tool, "arguments": dict(step.params)}
        asked = _request(session.asked, "tools/call", said)
        self._tell(session, session.egress, events.ClientMessage(asked))

    def _tell(self, session: _Session, gate: Gate, event: events.Event) -> None:
        """Give a gate one event and perform what follows.

        Raises:
            Broken: the gate raised something.
        """
        at = session.caller if gate is session.egress else session.provider
        if not session.stands:
            return
        now = at.clock.unix_ms(self.world.agenda.now_us)
        try:
            asked = gate.handle(event, now)
        except Exception as wrong:
            told = f"told its {gate.position.name.lower()} gate {event}"
            raise self.world.broken(at, wrong, told) from wrong
        for effect in asked:
            self._perform(session, gate, at, effect)

    def _perform(
        self, session: _Session, gate: Gate, at: Citizen, effect: effects.Effect
    ) -> None:
        away = gate is session.egress
        match effect:
            case effects.ToServer(data, envelope) if away:
                arrived = events.ClientMessage(data, envelope)
                self._carry(session, session.there, data, envelope or b"", arrived)
            case effects.ToServer(data) | effects.AskServer(data):
                self._serve(session, data)
            case effects.ToClient(data) if away:
                self._answered(session, data)
            case effects.ToClient(data):
                answered = events.ServerMessage(data)
                self._carry(session, session.back, data, b"", answered)
            case effects.SignRequest(ticket, body):
                by_agent = session.key.sign(body, Domain.REQUEST_AGENT)
                by_node = at.keys[gate.principal.chain.key].sign(
                    body, Domain.REQUEST_NODE
                )
                signed = events.RequestSigned(ticket, by_agent, by_node)
                # Two signatures, and the node's own processor makes both.
                done_us = self.world.spend(at, 2 * self.world.scenario.costs.sign_us)
                self._later(session, done_us, gate, signed)
            case effects.Prove(ticket, body):
                proven = session.key.sign(body, Domain.CHALLENGE)
                self._tell(session, gate, events.Proven(ticket, proven))
            case effects.Witness():
                self._saw(at, witness_report(effect))
            case effects.Proof():
                self.figures.misdeed(Subject(SubjectKind.NODE, effect.node))
                self.figures.misdeed(Subject(SubjectKind.AGENT, effect.agent))
                self._saw(at, proof_report(effect))
            case _:
                pass

    def _carry(
        self,
        session: _Session,
        link: Link,
        data: bytes,
        envelope: bytes,
        event: events.Event,
    ) -> None:
        """Send along the mesh, if the two nodes let each other."""
        one, other = session.caller, session.provider
        away = link is session.there
        if other.index in one.refused or one.index in other.refused:
            if away:
                self._lose(session)
            return
        gate = session.ingress if away else session.egress
        now_us = self.world.agenda.now_us
        for due_us in self.world.network.carry(link, data + envelope, now_us)[:1]:
            self._later(session, due_us, gate, event)

    def _lose(self, session: _Session) -> None:
        """No link to the provider: whatever waits for it is denied."""
        lost = events.ServerLost("no link to the server's node")
        self._tell(session, session.egress, lost)
        self._tell(session, session.egress, events.ServerBack())

    def _later(
        self, session: _Session, at_us: int, gate: Gate, event: events.Event
    ) -> None:
        self.world.agenda.at(at_us, partial(self._tell, session, gate, event))

    def _saw(self, citizen: Citizen, report: Report) -> None:
        delay_us = citizen.role.detects_ms * 1_000
        self.world.agenda.after(delay_us, partial(self.world.saw, citizen, report))

    # --- the made-up server, and the made-up agent ---------------------------------------

    def _serve(self, session: _Session, data: bytes) -> None:
        asked = json.loads(data)
        result: object = {"content": [{"type": "text", "text": "done"}]}
        if asked["method"] == "tools/list":
            used = {step.tool for step in self.world.scenario.story if step.tool}
            result = {
                "tools": [
                    {"name": tool, "inputSchema": {"type": "object"}}
                    for tool in sorted(used | {HOSTILE_TOOL})
                ]
            }
        elif asked["id"] in session.open:
            self.figures.reached_server(session.open[asked["id"]][0])
        due_us = self.world.agenda.now_us + SERVER_US
        told = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result})
        self._later(
            session, due_us, session.ingress, events.ServerMessage(told.encode())
        )

    def _answered(self, session: _Session, data: bytes) -> None:
        answer = json.loads(data)
        step, since_us = session.open.pop(answer["id"], (None, 0))
        if step is None:
            return
        outcome = "was answered"
        if "error" in answer:
            why = answer["error"]["data"]["picket"]
            outcome = f"was denied: {why['reason']} {why.get('rule') or ''}".strip()
        else:
            self.figures.served(step, session.honest, since_us)
        for onlooker in self.world.onlookers:
            whom = f"{step.tool} of {session.provider.name}"
            onlooker.happened(session.caller.name, f"call of {whom} {outcome}")


def _blinded(honest: Post) -> Post:
    """As the same node's gates, but for what makes them gates."""
    known = honest.bundles.current
    blind = BlindPolicy(digest=known.digest, rules=known.rules, secret=known.secret)
    never: Callable[[effects.Subject], bool] = lambda _who: False  # noqa: E731
    return attrs.evolve(
        honest,
        bundles=Bundles(blind),
        rates=RateLimiter(default=Rate(per_second=1e6, burst=10**6)),
        is_refused=never,
        pins=None,
        trust=None,
        proves=False,
    )


def _request(key: int, method: str, params: dict[str, object]) -> bytes:
    asked = {"jsonrpc": "2.0", "id": key, "method": method, "params": params}
    return json.dumps(asked).encode()
