"""The promises of ``enforcement.gate``, read as dialogues."""

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement import limits
from enforcement.decide.evidence import read_proof_untrusted
from enforcement.defend.policy import Policy
from enforcement.defend.rate import Rate
from enforcement.defend.replay import ReplayWindow
from enforcement.effects import (
    Audit,
    Effect,
    HangUp,
    Position,
    Proof,
    SignRequest,
    Subject,
    SubjectKind,
    ToClient,
    ToServer,
    Verdict,
    Witness,
)
from enforcement.events import (
    ClientMessage,
    Renewed,
    RequestSigned,
    ServerBack,
    ServerLost,
    ServerMessage,
    SigningFailed,
)
from enforcement.gate import Gate
from enforcement.mcp.signing import read_envelope_untrusted, write_envelope
from gossip.units import UnixMs
from tests.support.births import NOW, SUITE
from tests.support.sessions import (
    PERMIT,
    Agent,
    Town,
    answer,
    call,
    gate,
    leave,
    message,
    of,
    post,
    sign,
    told,
)

RULES = (
    PERMIT
    + """
@id("no-drop") @severity("8") @advice("ask the owner")
forbid(principal, action == Action::"tools/call", resource)
when { context.params has query && context.words.query.contains("drop") };

@id("no-list") @severity("4") @category("curiosity")
forbid(principal, action == Action::"tools/call", resource)
when { resource.name == "list_tables" };

@id("private") @severity("9") @secret("ssn")
forbid(principal, action == Action::"tools/call", resource)
when { context.params has ssn && context.params.ssn == "000" };

@id("quiet")
forbid(principal, action == Action::"tools/call", resource)
when { resource.name == "append_insight" };
"""
)
STRICT = Policy.load({"rules.cedar": RULES})
OPEN = Policy.load({"rules.cedar": PERMIT})


@pytest.fixture(scope="module")
def clerk(town: Town) -> Agent:
    return town.agent("clerk-1", "clerk")


@pytest.fixture
def local(town: Town, clerk: Agent) -> Gate:
    return gate(Position.LOCAL, town, clerk, post(town, STRICT))


@pytest.fixture
def egress(town: Town, clerk: Agent) -> Gate:
    return gate(Position.EGRESS, town, clerk, post(town, STRICT))


@pytest.fixture
def ingress(town: Town, clerk: Agent) -> Gate:
    return gate(Position.INGRESS, town, clerk, post(town, STRICT))


@pytest.fixture
def fallen(town: Town, clerk: Agent, ingress: Gate) -> Gate:
    """The branch's egress gate, compromised: it names the bundle, and skips it."""
    shared = post(town, OPEN)
    bundles = attrs.evolve(shared.bundles, current=_lying(STRICT.digest))
    return gate(Position.EGRESS, town, clerk, attrs.evolve(shared, bundles=bundles))


def _lying(digest: bytes) -> Policy:
    return Policy(digest=digest, rules=OPEN.rules, secret=frozenset())


def hear(tested: Gate, data: bytes, now: UnixMs = NOW) -> dict[str, str]:
    """Say something that is denied; returns what the agent is told."""
    effects = tested.handle(ClientMessage(data), now)
    assert not of(effects, ToServer)
    (denial,) = of(effects, ToClient)
    return dict(told(denial.data))


# What passes


def test_an_allowed_call_and_its_answer_pass_byte_for_byte(local: Gate) -> None:
    asked = b' {"id" :7,"jsonrpc":"2.0", "method":"tools/call","params":{"name":"t"}}'
    effects = local.handle(ClientMessage(asked), NOW)

    assert of(effects, ToServer) == [ToServer(asked)]
    (audit,) = of(effects, Audit)
    assert (audit.verdict, audit.method, audit.tool) == (
        Verdict.ALLOWED,
        "tools/call",
        "t",
    )

    answered = b'{"jsonrpc":"2.0","id":7, "result":{"x":1e2}}'
    assert local.handle(ServerMessage(answered), NOW) == [ToClient(answered)]


def test_the_servers_own_requests_and_notifications_pass(local: Gate) -> None:
    for data in (
        message("notifications/progress", progressToken=1, progress=0.5),
        message("sampling/createMessage", "s1", messages=[]),
    ):
        assert local.handle(ServerMessage(data), NOW) == [ToClient(data)]
    back = answer("s1", role="assistant")
    assert local.handle(ClientMessage(back), NOW) == [ToServer(back)]


def test_a_message_never_reaches_a_line_reader_as_two(local: Gate) -> None:
    """Line feeds between tokens, and characters some readers take for them."""
    inner = call("drop", 66).decode()
    asked = (
        '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":[\r\n'
        + inner
        + '\n],"y":"\u2028'
        + inner.replace('"', "'")
        + '\x85"}}'
    )
    (sent,) = of(local.handle(ClientMessage(asked.encode()), NOW), ToServer)

    assert len(sent.data.decode().splitlines()) == 1
    assert json.loads(sent.data) == json.loads(asked)


@pytest.mark.parametrize("character", ["\x85", "\u2028"])
def test_what_would_grow_past_the_limit_on_its_way_is_denied(
    local: Gate, character: str
) -> None:
    text = character * (limits.MESSAGE_BYTES_MAX // len(character.encode()) - 100)
    params = {"name": "t", "arguments": {"query": text}}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    denial = hear(local, json.dumps(asked, ensure_ascii=False).encode())
    assert denial["reason"] == "malformed"

    local.handle(ClientMessage(call("t", 2)), NOW)
    grown = {"jsonrpc": "2.0", "id": 2, "result": {"text": text}}
    data = json.dumps(grown, ensure_ascii=False).encode()
    (sent,) = of(local.handle(ServerMessage(data), NOW), ToClient)
    assert json.loads(sent.data)["id"] == 2
    assert told(sent.data)["reason"] == "server"


def test_order_is_kept_while_a_request_is_being_signed(
    egress: Gate, town: Town, clerk: Agent
) -> None:
    (ask,) = of(egress.handle(ClientMessage(call("t", 1)), NOW), SignRequest)
    cancel = message("notifications/cancelled", requestId=1)
    assert egress.handle(ClientMessage(cancel), NOW) == []

    effects = egress.handle(sign(ask, clerk, town.branch), NOW)
    assert [s.data for s in of(effects, ToServer)] == [call("t", 1), cancel]


def test_a_server_may_ask_only_what_can_be_answered(town: Town, clerk: Agent) -> None:
    refused: set[Subject] = set()
    tested = gate(Position.EGRESS, town, clerk, post(town, STRICT, refused))
    asked = ServerMessage(message("sampling/createMessage", 1))
    assert of(tested.handle(asked, NOW), ToClient)
    for again in (asked, ServerMessage(message("ping", 1))):
        effects = tested.handle(again, NOW)
        assert not of(effects, ToClient)
        (denial,) = of(effects, ToServer)
        assert told(denial.data)["reason"] == "busy"
    cancel = message("notifications/cancelled", requestId=1)
    assert tested.handle(ServerMessage(cancel), NOW) == [ToClient(cancel)]
    assert tested.handle(ClientMessage(answer(1)), NOW) == [ToServer(answer(1))]
    refused.add(Subject(SubjectKind.NODE, tested.audience))
    (denial,) = of(tested.handle(asked, NOW), ToServer)
    assert told(denial.data)["reason"] == "quarantined"


# What is denied


def test_a_denial_names_rule_reason_and_advice(local: Gate) -> None:
    said = hear(local, call("write_query", query="DROP TABLE x"))
    assert said["rule"] == "no-drop"
    assert said["reason"] == "rule"
    assert said["advice"] == "ask the owner"
    assert said["message"] == "rule `no-drop` forbids this call; ask the owner"


@pytest.mark.parametrize("position", [Position.LOCAL, Position.EGRESS])
def test_an_agent_stopped_at_home_is_witnessed_as_annotated(
    town: Town, clerk: Agent, position: Position
) -> None:
    tested = gate(position, town, clerk, post(town, STRICT))
    effects = tested.handle(ClientMessage(call("list_tables")), NOW)
    (seen,) = of(effects, Witness)
    assert seen.subject == Subject(SubjectKind.AGENT, clerk.principal.agent)
    assert (seen.category, seen.severity) == ("curiosity", 4)
    assert not of(effects, SignRequest)


def test_a_rule_without_severity_denies_and_accuses_nobody(local: Gate) -> None:
    effects = local.handle(ClientMessage(call("append_insight")), NOW)
    assert of(effects, ToClient)
    assert not of(effects, Witness)


def test_one_subject_is_witnessed_once_a_second_with_a_count(local: Gate) -> None:
    def sightings(now: int) -> list[int]:
        effects = local.handle(ClientMessage(call("list_tables")), UnixMs(now))
        return [seen.count for seen in of(effects, Witness)]

    assert [sightings(NOW + ms) for ms in (0, 1, 999, 1_000)] == [[1], [], [], [3]]


def test_a_pending_id_cannot_be_used_again_until_it_is_answered(local: Gate) -> None:
    local.handle(ClientMessage(call("t", 5)), NOW)
    assert hear(local, call("t", 5))["reason"] == "request-id"
    local.handle(ServerMessage(answer(5)), NOW)
    assert of(local.handle(ClientMessage(call("t", 5)), NOW), ToServer)


def test_a_server_that_answers_unasked_is_not_heard(local: Gate) -> None:
    (audit,) = local.handle(ServerMessage(answer(9, secret=1)), NOW)
    assert isinstance(audit, Audit)
    assert (audit.verdict, audit.reason) == (Verdict.DROPPED, "unasked")


def test_a_client_that_answers_unasked_is_not_heard(local: Gate) -> None:
    (audit,) = local.handle(ClientMessage(answer(9)), NOW)
    assert isinstance(audit, Audit)


def test_an_answer_nobody_can_read_fails_the_call_instead_of_hanging_it(
    local: Gate,
) -> None:
    local.handle(ClientMessage(call("t", 5)), NOW)
    effects = local.handle(
        ServerMessage(b'{"jsonrpc":"2.0","id":5,"result":{"x":NaN}}'), NOW
    )
    (denial,) = of(effects, ToClient)
    assert told(denial.data)["reason"] == "server"


def test_a_call_dressed_as_a_notification_goes_nowhere(local: Gate) -> None:
    data = message("tools/call", name="write_query", arguments={"query": "drop"})
    assert hear(local, data)["reason"] == "malformed"


def test_too_many_waiting_calls_are_refused(local: Gate) -> None:
    for key in range(limits.PENDING_MAX):
        now = UnixMs(NOW + 10 * key)
        assert of(local.handle(ClientMessage(message("ping", key)), now), ToServer)
    assert hear(local, message("ping", "more"))["reason"] == "busy"


@pytest.mark.parametrize("position", list(Position))
@pytest.mark.parametrize("who", ["agent", "node", "provider"])
def test_the_quarantined_are_denied_and_told_how_to_ask_why(
    town: Town, clerk: Agent, position: Position, who: str
) -> None:
    refused: set[Subject] = set()
    tested = gate(position, town, clerk, post(town, STRICT, refused))
    refused.add(
        {
            "agent": Subject(SubjectKind.AGENT, clerk.principal.agent),
            "node": Subject(SubjectKind.NODE, clerk.principal.node),
            "provider": Subject(SubjectKind.NODE, tested.audience),
        }[who]
    )
    said = hear(tested, call("t"))
    assert said["reason"] == "quarantined"
    assert "picket quarantine why" in said["advice"]
    assert not of(
        tested.handle(ClientMessage(message("notifications/x")), NOW), ToServer
    )


def test_too_fast_at_home_is_the_agents_witness(town: Town, clerk: Agent) -> None:
    slow = Rate(per_second=1, burst=2)
    tested = gate(Position.LOCAL, town, clerk, post(town, STRICT, rate=slow))
    for key in (1, 2):
        assert of(tested.handle(ClientMessage(call("t", key)), NOW), ToServer)
    effects = tested.handle(ClientMessage(call("t", 3)), NOW)
    (seen,) = of(effects, Witness)
    assert seen.subject.kind is SubjectKind.AGENT
    assert of(tested.handle(ClientMessage(call("t", 4)), UnixMs(NOW + 1_000)), ToServer)


def test_what_picket_fails_at_is_denied_never_forwarded(
    town: Town, clerk: Agent
) -> None:
    shared = post(town, STRICT)

    def broken(subject: Subject) -> bool:
        raise KeyError(subject)

    tested = gate(Position.LOCAL, town, clerk, attrs.evolve(shared, is_refused=broken))
    assert hear(tested, call("t"))["reason"] == "internal"


def test_no_event_makes_a_gate_raise(town: Town, clerk: Agent) -> None:
    def broken(subject: Subject) -> bool:
        raise KeyError(subject)

    shared = attrs.evolve(post(town, STRICT), is_refused=broken)
    tested = gate(Position.LOCAL, town, clerk, shared)
    stranger = town.agent("stranger", "clerk")
    for event in (
        ClientMessage(message("notifications/x")),
        ServerMessage(message("sampling/createMessage", 1)),
        Renewed(stranger.principal),
    ):
        (audit,) = tested.handle(event, NOW)
        assert isinstance(audit, Audit)
        assert (audit.verdict, audit.reason) == (Verdict.DROPPED, "internal")
    assert tested.principal is clerk.principal


def test_a_witness_lets_nobody_guess_the_message(town: Town, clerk: Agent) -> None:
    """Two nodes that see the same bytes name them differently."""
    digests = set()
    for _ in range(2):
        tested = gate(Position.LOCAL, town, clerk, post(town, STRICT))
        effects = tested.handle(ClientMessage(call("list_tables")), NOW)
        (seen,), (audit,) = of(effects, Witness), of(effects, Audit)
        assert seen.digest == audit.digest
        digests.add(seen.digest)
    assert len(digests) == 2


# When the server is gone, and when keys are


def test_a_lost_server_answers_every_waiting_call(egress: Gate) -> None:
    egress.handle(ClientMessage(call("t", 1)), NOW)
    egress.handle(ClientMessage(call("t", 2)), NOW)
    gone = ServerLost("the ledger's node cannot be reached", "see its log")
    effects = egress.handle(gone, NOW)
    assert {told(e.data)["advice"] for e in of(effects, ToClient)} == {"see its log"}
    keys = [json.loads(e.data)["id"] for e in of(effects, ToClient)]
    assert keys == [1, 2]
    assert egress.handle(RequestSigned(1, b"", b""), NOW) == []
    heard = hear(egress, call("t", 3))
    assert heard["message"] == "the ledger's node cannot be reached; see its log"
    assert heard["advice"] == "see its log"
    egress.handle(ServerBack(), NOW)
    assert of(egress.handle(ClientMessage(call("t", 4)), NOW), SignRequest)


def test_without_a_signature_nothing_leaves(egress: Gate) -> None:
    (ask,) = of(egress.handle(ClientMessage(call("t", 1)), NOW), SignRequest)
    effects = egress.handle(SigningFailed(ask.ticket, "the key is away"), NOW)
    assert not of(effects, ToServer)
    (audit,) = of(effects, Audit)
    assert (audit.verdict, audit.reason) == (Verdict.DENIED, "signer")
    assert of(egress.handle(ClientMessage(call("t", 1)), NOW), SignRequest)


def test_a_rotation_in_mid_call_signs_anew_and_passes(
    town: Town, clerk: Agent, egress: Gate, ingress: Gate
) -> None:
    (old,) = of(egress.handle(ClientMessage(call("t", 1)), NOW), SignRequest)
    rotated = town.branch.rotated()
    again = town.certify("clerk-1", ("clerk",), rotated, clerk.key)
    (new,) = of(egress.handle(Renewed(again.principal), NOW), SignRequest)

    assert egress.handle(sign(old, clerk, town.branch), NOW) == []
    (sent,) = of(egress.handle(sign(new, again, rotated), NOW), ToServer)
    ingress.handle(Renewed(again.principal), NOW)
    assert of(ingress.handle(ClientMessage(sent.data, sent.envelope), NOW), ToServer)


def test_other_roles_in_mid_call_deny_it_rather_than_sign_what_was_not_judged(
    town: Town, clerk: Agent, egress: Gate
) -> None:
    """Else an honest node would sign the proof of a crime it never allowed."""
    (ask,) = of(egress.handle(ClientMessage(call("t", 1)), NOW), SignRequest)
    demoted = town.certify("clerk-1", ("retail",), town.branch, clerk.key)
    effects = egress.handle(Renewed(demoted.principal), NOW)
    assert not of(effects, SignRequest)
    (denial,) = of(effects, ToClient)
    assert told(denial.data)["reason"] == "signer"
    assert egress.handle(sign(ask, clerk, town.branch), NOW) == []


def test_what_was_signed_before_a_rotation_still_passes_after_it(
    town: Town, clerk: Agent, egress: Gate, ingress: Gate
) -> None:
    sent = leave(egress, call("t", 1), clerk, town.branch)
    again = town.certify("clerk-1", ("clerk",), town.branch.rotated(), clerk.key)
    ingress.handle(Renewed(again.principal), NOW)
    assert of(ingress.handle(sent, NOW), ToServer)


@pytest.mark.parametrize("days", [-1, 3])
def test_keys_out_of_force_are_denied_and_accuse_nobody(
    town: Town, clerk: Agent, egress: Gate, ingress: Gate, days: int
) -> None:
    then = UnixMs(NOW + days * 86_400_000)
    shared = attrs.evolve(ingress.post, replay=ReplayWindow(since_ms=UnixMs(0)))
    tested = gate(Position.INGRESS, town, clerk, shared)
    sent = leave(egress, call("t", 1), clerk, town.branch, then)
    effects = tested.handle(sent, then)
    assert not of(effects, ToServer)
    assert not of(effects, Witness)
    (denial,) = of(effects, ToClient)
    assert told(denial.data)["reason"] == "stale"


# Floods


def _flood(tested: Gate, data: bytes, count: int, per_ms: int = 5) -> list[Effect]:
    effects: list[Effect] = []
    for number in range(count):
        at = UnixMs(NOW + number // per_ms)
        effects += tested.handle(ClientMessage(data), at)
    return effects


JUNK = [answer(1), b"{", message("notifications/progress", progressToken=1)]


@pytest.mark.parametrize("junk", JUNK)
def test_a_flood_fills_no_trail_and_is_counted(
    town: Town, clerk: Agent, junk: bytes
) -> None:
    slow = post(town, STRICT, rate=Rate(per_second=1, burst=1))
    tested = gate(Position.LOCAL, town, clerk, slow)
    effects = _flood(tested, junk, 3_000)
    assert len(of(effects, ToServer)) <= 1
    rows = len(of(effects, Audit))
    assert rows <= limits.AUDIT_REFUSED_BURST + 1
    assert not of(effects, HangUp)
    (seen,) = of(effects, Witness)
    assert seen.subject == Subject(SubjectKind.AGENT, clerk.principal.agent)
    assert (seen.category, seen.severity) == ("rate-abuse", 3)

    effects = tested.handle(ClientMessage(b"{"), UnixMs(NOW + 2_000))
    (audit,) = of(effects, Audit)
    told_of = 3_001 - rows - len(of(effects, ToServer))
    assert audit.count in (told_of, told_of - 1)


def test_many_sessions_of_an_agent_have_one_budget_of_records(
    town: Town, clerk: Agent
) -> None:
    given = post(town, STRICT)
    effects = [
        effect
        for _ in range(50)
        for effect in _flood(gate(Position.LOCAL, town, clerk, given), b"{", 50)
    ]
    assert len(of(effects, Audit)) <= limits.AUDIT_REFUSED_BURST + 1


def test_what_accuses_has_its_record_whatever_came_before(
    town: Town, clerk: Agent, ingress: Gate, fallen: Gate
) -> None:
    _flood(ingress, b"{", 200)
    hostile = leave(fallen, call("q", 1, query="drop x"), clerk, town.branch)
    effects = ingress.handle(hostile, NOW)
    assert of(effects, Proof)
    (audit,) = of(effects, Audit)
    assert (audit.rule, audit.count) == ("no-drop", 1)


@pytest.mark.parametrize("junk", [*JUNK, call("t")])
def test_a_node_that_floods_is_witnessed_and_loses_its_session(
    town: Town, clerk: Agent, junk: bytes
) -> None:
    slow = post(town, STRICT, rate=Rate(per_second=1, burst=1))
    tested = gate(Position.INGRESS, town, clerk, slow)
    effects = _flood(tested, junk, 2 * limits.JUNK_BURST)
    assert len(of(effects, ToServer)) <= 2
    assert of(effects, HangUp)
    assert isinstance(effects[-1], HangUp)
    seen = of(effects, Witness)[-1]
    assert seen.subject == Subject(SubjectKind.NODE, town.branch.node)


def test_a_flood_of_requests_without_a_session_is_one_flood(
    town: Town, clerk: Agent
) -> None:
    given = post(town, STRICT)
    effects = [
        effect
        for _ in range(2 * limits.JUNK_BURST)
        for effect in _flood(gate(Position.INGRESS, town, clerk, given), b"{", 1)
    ]
    assert of(effects, HangUp)
    assert of(effects, Witness)[-1].category == "rate-abuse"


def test_a_renewal_on_its_way_is_no_flood(
    town: Town, clerk: Agent, egress: Gate, ingress: Gate
) -> None:
    other = town.certify("clerk-1", ("clerk", "hr"), town.branch, clerk.key)
    egress.handle(Renewed(other.principal), NOW)
    sent = leave(egress, call("t"), other, town.branch)
    effects = [e for _ in range(600) for e in ingress.handle(sent, NOW)]
    assert not of(effects, HangUp)
    assert not of(effects, Witness)


# Between nodes


def test_a_signed_call_passes_both_gates(
    town: Town, clerk: Agent, egress: Gate, ingress: Gate
) -> None:
    sent = leave(egress, call("t", 1, query="select 1"), clerk, town.branch)
    effects = ingress.handle(sent, NOW)
    assert of(effects, ToServer) == [ToServer(call("t", 1, query="select 1"))]
    (audit,) = of(effects, Audit)
    assert len(audit.request_id) == 16


def test_a_hostile_call_is_denied_and_proven(
    town: Town, clerk: Agent, fallen: Gate, ingress: Gate
) -> None:
    sent = leave(fallen, call("q", 1, query="Drop x"), clerk, town.branch)
    effects = ingress.handle(sent, NOW)
    assert not of(effects, ToServer)
    (proof,) = of(effects, Proof)
    assert (proof.agent, proof.node) == (clerk.principal.agent, town.branch.node)
    assert (proof.rule, proof.severity) == ("no-drop", 8)


def test_a_call_its_node_should_have_stopped_is_witnessed_about_the_node(
    town: Town, clerk: Agent, fallen: Gate, ingress: Gate
) -> None:
    sent = leave(fallen, call("list_tables"), clerk, town.branch)
    effects = ingress.handle(sent, NOW)
    (seen,) = of(effects, Witness)
    assert seen.subject == Subject(SubjectKind.NODE, town.branch.node)
    assert seen.category == "ungated-request"
    assert not of(effects, ToServer)


def test_what_no_proof_may_open_is_witnessed_about_both(
    town: Town, clerk: Agent, fallen: Gate, ingress: Gate
) -> None:
    sent = leave(fallen, call("q", 1, ssn="000"), clerk, town.branch)
    effects = ingress.handle(sent, NOW)
    assert not of(effects, ToServer)
    assert not of(effects, Proof)
    assert [(seen.subject.id, seen.severity) for seen in of(effects, Witness)] == [
        (town.branch.node, 9),
        (clerk.principal.agent, 9),
    ]


def test_a_text_under_a_secrets_name_further_down_is_proven_all_the_same(
    town: Town, clerk: Agent, fallen: Gate, ingress: Gate
) -> None:
    hidden = call("q", 1, query=[{"ssn": "drop table visits"}])
    effects = ingress.handle(leave(fallen, hidden, clerk, town.branch), NOW)
    (proof,) = of(effects, Proof)
    assert b"drop table visits" in proof.data
    convicted = read_proof_untrusted(
        proof.data,
        roster=town.roster,
        suite=SUITE,
        policies={STRICT.digest: STRICT}.get,
    )
    assert convicted is not None
    assert convicted.node == town.branch.node


def test_what_an_honest_node_never_signs_is_witnessed_about_the_node(
    town: Town, clerk: Agent, fallen: Gate, ingress: Gate
) -> None:
    long = leave(fallen, call("q", 1, **{"n" * 3_000: 1}), clerk, town.branch)
    effects = ingress.handle(long, NOW)
    (denial,) = of(effects, ToClient)
    assert told(denial.data)["reason"] == "unprovable"
    (seen,) = of(effects, Witness)
    assert seen.subject == Subject(SubjectKind.NODE, town.branch.node)
    assert (seen.category, seen.severity) == ("ungated-request", 6)

    few = leave(fallen, call("q", 2), clerk, town.branch)
    many = attrs.evolve(few, data=call("q", 2, many=[0] * limits.LEAVES_MAX))
    effects = ingress.handle(many, UnixMs(NOW + 2_000))
    (denial,) = of(effects, ToClient)
    assert told(denial.data)["reason"] == "too-many-values"
    assert [(s.category, s.severity) for s in of(effects, Witness)] == [
        ("ungated-request", 6)
    ]


def test_what_the_bundle_before_let_pass_accuses_no_node(
    town: Town, clerk: Agent, fallen: Gate, ingress: Gate
) -> None:
    long = leave(fallen, call("q", 1, **{"n" * 3_000: 1}), clerk, town.branch)
    ingress.post.bundles.install(OPEN, NOW)
    effects = ingress.handle(long, NOW)
    assert not of(effects, ToServer)
    assert not of(effects, Witness)


def test_too_many_values_to_sign_are_denied_at_home(egress: Gate) -> None:
    data = call("t", 1, many=[0] * limits.LEAVES_MAX)
    assert hear(egress, data)["reason"] == "too-many-values"
    assert of(egress.handle(ClientMessage(call("t", 1)), NOW), SignRequest)


def test_a_full_memory_of_requests_denies_instead_of_forgetting(
    town: Town,
    clerk: Agent,
    egress: Gate,
    ingress: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "REPLAY_PER_NODE_MAX", 1)
    for key, reached in ((1, 1), (2, 0)):
        sent = leave(egress, call("t", key), clerk, town.branch)
        assert len(of(ingress.handle(sent, NOW), ToServer)) == reached


def test_rate_abuse_at_the_provider_is_the_nodes(town: Town, clerk: Agent) -> None:
    fast = gate(Position.EGRESS, town, clerk, post(town, STRICT))
    slow = Rate(per_second=1, burst=1)
    tested = gate(Position.INGRESS, town, clerk, post(town, STRICT, rate=slow))
    effects = [
        effect
        for key in range(3)
        for effect in tested.handle(
            leave(fast, call("t", key), clerk, town.branch), NOW
        )
    ]
    assert len(of(effects, ToServer)) == 2, "bunched calls of an honest node pass"
    (seen,) = of(effects, Witness)
    assert seen.subject == Subject(SubjectKind.NODE, town.branch.node)
    assert (seen.category, seen.severity) == ("rate-abuse", 7)


def test_an_unsigned_call_from_another_node_is_refused(ingress: Gate) -> None:
    assert hear(ingress, call("t"))["reason"] == "unsigned"


def test_a_signed_call_counts_once(
    town: Town, clerk: Agent, egress: Gate, ingress: Gate
) -> None:
    sent = leave(egress, call("t"), clerk, town.branch)
    assert of(ingress.handle(sent, NOW), ToServer)
    ingress.handle(ServerMessage(answer(1)), NOW)
    effects = ingress.handle(sent, NOW)
    assert not of(effects, ToServer)
    other_session = gate(Position.INGRESS, town, clerk, ingress.post)
    (denial,) = of(other_session.handle(sent, NOW), ToClient)
    assert told(denial.data)["reason"] == "replayed"


def test_both_gates_call_a_session_by_one_name_and_either_can_end_it(
    town: Town, clerk: Agent, egress: Gate
) -> None:
    refused: set[Subject] = set()
    ingress = gate(Position.INGRESS, town, clerk, post(town, STRICT, refused))
    sent = leave(egress, call("t"), clerk, town.branch)
    effects = ingress.handle(sent, NOW)
    (audit,) = of(effects, Audit)
    assert audit.session == egress.session == ingress.session
    ingress.handle(ServerMessage(answer(1)), NOW)
    refused.add(Subject(SubjectKind.SESSION, egress.session))
    sent = leave(egress, call("t", 2), clerk, town.branch)
    (denial,) = of(ingress.handle(sent, NOW), ToClient)
    assert told(denial.data)["reason"] == "quarantined"
    fresh = gate(Position.INGRESS, town, clerk, ingress.post)
    (denial,) = of(fresh.handle(sent, NOW), ToClient)
    assert told(denial.data)["reason"] == "quarantined", "nor by another stream"
    other = gate(Position.EGRESS, town, clerk, egress.post)
    sent = leave(other, call("t", 3), clerk, town.branch)
    assert of(fresh.handle(sent, NOW), ToServer), "another session goes on"


@pytest.mark.parametrize("late_ms", [limits.FRESH_MS_MAX + 1, -1])
def test_a_stale_call_is_refused_and_so_is_one_from_before_the_start(
    town: Town, clerk: Agent, egress: Gate, ingress: Gate, late_ms: int
) -> None:
    signed_at = UnixMs(NOW + min(0, late_ms))
    sent = leave(egress, call("t"), clerk, town.branch, signed_at)
    (denial,) = of(ingress.handle(sent, UnixMs(NOW + max(0, late_ms))), ToClient)
    assert told(denial.data)["reason"] == "stale"


def test_only_the_present_and_for_ten_minutes_the_last_bundle_count(
    town: Town, clerk: Agent, ingress: Gate
) -> None:
    shared = post(town, STRICT)
    egress = gate(Position.EGRESS, town, clerk, shared)
    later = UnixMs(NOW + 1_000)
    ingress.post.bundles.install(OPEN, later)

    def reason(now: UnixMs) -> str:
        sent = leave(egress, call("t", now), clerk, town.branch, now)
        effects = ingress.handle(sent, now)
        denials = of(effects, ToClient)
        return told(denials[0].data)["reason"] if denials else "passed"

    assert reason(later) == "passed"
    assert reason(UnixMs(later + limits.BUNDLE_OVERLAP_MS)) == "passed"
    assert reason(UnixMs(later + limits.BUNDLE_OVERLAP_MS + 1)) == "bundle"


def test_what_the_former_bundle_forbids_still_convicts_in_the_overlap(
    town: Town, clerk: Agent, fallen: Gate, ingress: Gate
) -> None:
    ingress.post.bundles.install(OPEN, NOW)
    sent = leave(fallen, call("q", 1, query="drop"), clerk, town.branch)
    assert of(ingress.handle(sent, NOW), Proof)


def test_other_parameters_than_signed_are_refused_and_witnessed(
    town: Town, clerk: Agent, egress: Gate, ingress: Gate
) -> None:
    sent = leave(egress, call("t", 1, amount=1), clerk, town.branch)
    for data in (
        call("t", 1, amount=2),
        call("t", 1, amount=1, more=None),
        call("t", 1),
        call("u", 1, amount=1),
        message("prompts/get", 1, name="t"),
    ):
        effects = ingress.handle(ClientMessage(data, sent.envelope), NOW)
        assert not of(effects, ToServer)
        (denial,) = of(effects, ToClient)
        assert told(denial.data)["reason"] == "envelope"


def test_a_call_for_another_node_or_server_or_by_another_agent_is_refused(
    town: Town, clerk: Agent, egress: Gate
) -> None:
    sent = leave(egress, call("t"), clerk, town.branch)
    stranger = town.agent("stranger", "clerk")
    for changes in (
        {"audience": town.other.node},
        {"server": "other"},
        {"principal": stranger.principal},
    ):
        tested = Gate(
            **{  # type: ignore[arg-type] # one field at a time is of another type
                "position": Position.INGRESS,
                "principal": clerk.principal,
                "server": "sql",
                "audience": town.ledger.node,
                "post": post(town, STRICT),
                **changes,
            }
        )
        assert not of(tested.handle(sent, NOW), ToServer)


def test_a_signature_with_a_half_missing_is_refused(
    town: Town, clerk: Agent, egress: Gate, ingress: Gate
) -> None:
    sent = leave(egress, call("t"), clerk, town.branch)
    assert sent.envelope is not None
    true = read_envelope_untrusted(sent.envelope)
    for begin, end in ((0, 3309), (3309, 3373)):
        halves = [
            s[:begin] + bytes(end - begin) + s[end:]
            for s in (true.agent_signature, true.node_signature)
        ]
        for by_agent, by_node in (
            (halves[0], true.node_signature),
            (true.agent_signature, halves[1]),
            (true.node_signature, true.agent_signature),
        ):
            forged = write_envelope(true.encoded_body, by_agent, by_node, true.seed)
            effects = ingress.handle(ClientMessage(sent.data, forged), NOW)
            assert not of(effects, ToServer)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_garbage_is_answered_and_nothing_is_forwarded(
    data: bytes, envelope: bytes
) -> None:
    tested = _GARBAGE_GATE
    for event in (ClientMessage(data, envelope), ClientMessage(call("t"), envelope)):
        assert not of(tested.handle(event, NOW), ToServer)
    tested.handle(ServerMessage(data), NOW)


def _garbage_gate() -> Gate:
    town = Town()
    agent = town.agent("a", "clerk")
    return gate(Position.INGRESS, town, agent, post(town, STRICT))


_GARBAGE_GATE = _garbage_gate()
