"""The promises of ``enforcement.decide.evidence``: who is innocent stays so."""

from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.decide.evidence import (
    DeniedRequest,
    build_proof,
    read_proof_untrusted,
)
from enforcement.defend.policy import Policy
from enforcement.effects import Position
from enforcement.mcp.jsonrpc import Request, read_message_untrusted
from enforcement.mcp.leaves import commit
from enforcement.mcp.signing import Envelope, RequestBody, write_body
from enforcement.mcp.strictjson import Json
from enforcement.principal import Principals
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.units import ClusterId, UnixMs
from gossip.wire import Value, pack, take_list, unpack_untrusted
from tests.support.births import NOW, SUITE, Newborn
from tests.support.sessions import PERMIT, Agent, Town, call, gate, post

RULES = (
    PERMIT
    + """
@id("no-drop") @severity("8")
forbid(principal, action == Action::"tools/call", resource)
when { context.params has query && context.words.query.contains("drop") }
unless { context.params has approved && context.params.approved };

@id("not-there") @severity("7")
forbid(principal in Role::"retail", action == Action::"tools/call", resource)
when { !(context.params has ticket) };

@id("deep") @severity("7")
forbid(principal, action == Action::"tools/call", resource)
when { context.params has where && context.params.where has ids &&
       context.params.where.ids.contains(13) };

@id("mild") @severity("3")
forbid(principal, action == Action::"tools/call", resource)
when { context.params has mild };

@id("private") @severity("8") @secret("ssn")
forbid(principal, action == Action::"tools/call", resource)
when { context.params has ssn && context.params.ssn == "000" };
"""
)
POLICY = Policy.load({"rules.cedar": RULES})


def find(digest: bytes) -> Policy | None:
    return POLICY if digest == POLICY.digest else None


@pytest.fixture(scope="module")
def retail(town: Town) -> Agent:
    return town.agent("bot-1", "retail")


@attrs.define
class Case:
    """One signed request, and a proof about it that tests may bend."""

    town: Town
    agent: Agent
    node: Newborn
    params: dict[str, Json]
    rule: str
    body: RequestBody = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        principal = self.agent.principal
        leaves = commit(self.params, b"s" * 32)
        self.body = RequestBody(
            cluster=self.town.roster.cluster,
            node=principal.node,
            agent=principal.agent,
            key=principal.chain.key,
            cert=principal.cert_digest,
            audience=self.town.ledger.node,
            server="sql",
            method="tools/call",
            tool=str(self.params["name"]),
            request_id=b"r" * 16,
            issued_at_ms=NOW,
            bundle=POLICY.digest,
            root=leaves.root,
            count=leaves.count,
        )

    def proof(self, policy: Policy = POLICY) -> bytes:
        built = self.try_proof(policy)
        assert built is not None
        return built

    def try_proof(self, policy: Policy = POLICY) -> bytes | None:
        encoded = write_body(self.body)
        return build_proof(
            envelope=Envelope(
                body=self.body,
                encoded_body=encoded,
                agent_signature=self.agent.key.sign(encoded, Domain.REQUEST_AGENT),
                node_signature=self.node.signing_key.sign(encoded, Domain.REQUEST_NODE),
                seed=b"s" * 32,
            ),
            leaves=commit(self.params, b"s" * 32),
            principal=self.agent.principal,
            params=self.params,
            policy=policy,
            rule=policy.rules[self.rule],
        )

    def judge(self, proof: bytes) -> DeniedRequest | None:
        return read_proof_untrusted(
            proof, roster=self.town.roster, suite=SUITE, policies=find
        )


def arguments(**values: Json) -> dict[str, Json]:
    return {"name": "write_query", "arguments": values}


@pytest.fixture
def case(town: Town, retail: Agent) -> Case:
    params = arguments(query="drop x", patient="P-17", z=[1, {"a": 2}])
    return Case(town, retail, town.branch, params, "no-drop")


def bend(proof: bytes, at: int, change: Callable[[Value], Value]) -> bytes:
    fields = take_list(unpack_untrusted(proof, 1 << 20), 10, 10)
    return put(proof, at, change(fields[at]))


def put(proof: bytes, at: int, value: Value) -> bytes:
    fields = take_list(unpack_untrusted(proof, 1 << 20), 10, 10)
    fields[at] = value
    return pack(fields)


OPENED, ABSENT = 8, 9


def test_a_proof_convicts_agent_and_node_alone(case: Case) -> None:
    told = case.judge(case.proof())
    assert told is not None
    assert (told.agent, told.node) == (case.body.agent, case.town.branch.node)
    assert (told.agent_name, told.rule, told.severity) == ("bot-1", "no-drop", 8)
    assert (told.issued_at_ms, told.request_id) == (NOW, b"r" * 16)


def test_a_proof_shows_nothing_but_what_the_rule_reads(case: Case) -> None:
    proof = case.proof()
    assert b"drop x" in proof
    assert b"P-17" not in proof
    assert b"s" * 32 not in proof, "the seed would open everything"


def test_absence_convicts_when_absence_is_the_offence(
    town: Town, retail: Agent
) -> None:
    case = Case(town, retail, town.branch, arguments(a=1, z=2), "not-there")
    assert case.judge(case.proof()) is not None
    bare: dict[str, Json] = {"name": "t"}
    assert Case(town, retail, town.branch, bare, "not-there").try_proof() is not None
    case = Case(town, retail, town.branch, bare, "not-there")
    assert case.judge(case.proof()) is not None


def test_a_list_is_shown_whole_or_not_at_all(town: Town, retail: Agent) -> None:
    where: Json = {"ids": [12, 13, None], "other": "x"}
    case = Case(town, retail, town.branch, arguments(where=where), "deep")
    proof = case.proof()
    assert case.judge(proof) is not None

    def without_12(opened: Value) -> Value:
        leaves = take_list(opened, 0, 99)
        return [leaf for leaf in leaves if not _path(leaf).endswith(b"/0")]

    with pytest.raises(PeerError, match="withheld"):
        case.judge(bend(proof, OPENED, without_12))


def test_a_bundle_nobody_here_knows_proves_nothing_to_us(case: Case) -> None:
    case.body = attrs.evolve(case.body, bundle=b"?" * 32)
    assert case.judge(case.proof()) is None


def test_a_secret_is_never_opened(town: Town, retail: Agent) -> None:
    case = Case(town, retail, town.branch, arguments(ssn="000"), "private")
    assert case.try_proof() is None


def test_a_secret_opened_by_somebody_else_convicts_nobody(
    town: Town, retail: Agent
) -> None:
    case = Case(town, retail, town.branch, arguments(ssn="000"), "private")
    blind = attrs.evolve(POLICY, secret=frozenset())
    refused(case, case.proof(blind), "keeps secret")


def test_a_list_too_long_to_open_is_no_proof(town: Town, retail: Agent) -> None:
    where: Json = {"ids": [13] * 2_000}
    case = Case(town, retail, town.branch, arguments(where=where), "deep")
    assert case.try_proof() is None


def test_what_is_too_large_is_no_proof(town: Town, retail: Agent) -> None:
    query = "drop " + "x" * 60_000
    case = Case(town, retail, town.branch, arguments(query=query), "no-drop")
    assert case.try_proof() is None


# Attacks


def refused(case: Case, proof: bytes, match: str = ".") -> None:
    with pytest.raises(PeerError, match=match):
        case.judge(proof)


def test_a_leaf_that_would_acquit_cannot_be_withheld(town: Town, retail: Agent) -> None:
    params = arguments(query="drop x", approved=True)
    case = Case(town, retail, town.branch, params, "no-drop")
    proof = case.proof()
    refused(case, proof, "does not forbid")

    def without_approval(opened: Value) -> Value:
        leaves = take_list(opened, 0, 99)
        return [leaf for leaf in leaves if not _path(leaf).endswith(b"approved")]

    refused(case, bend(proof, OPENED, without_approval), "withheld")


def test_absence_cannot_be_lied_about(town: Town, retail: Agent) -> None:
    params = arguments(query="drop x", approved=True)
    case = Case(town, retail, town.branch, params, "no-drop")
    leaves = commit(params, b"s" * 32)
    path = b"/arguments/approved"
    at = leaves.find(path)
    assert at is not None
    for left, right in ((at - 1, at + 1), (at - 1, at), (at, at + 1)):
        lie: Value = [path, leaves.show(left).write(), leaves.show(right).write()]
        refused(case, put(case.proof(), ABSENT, [lie]))
    lie = [path, leaves.show(leaves.count - 1).write(), None]
    refused(case, put(case.proof(), ABSENT, [lie]))


def test_a_leaf_cannot_be_altered(town: Town, retail: Agent) -> None:
    innocent = Case(town, retail, town.branch, arguments(query="select"), "no-drop")

    def guilty(opened: Value) -> Value:
        leaves = take_list(opened, 0, 99)
        for leaf in leaves:
            if _path(leaf).endswith(b"query"):
                take_list(leaf, 5, 5)[2] = b"\x05drop x"
        return leaves

    refused(innocent, bend(innocent.proof(), OPENED, guilty), "not what was signed")


def test_an_innocent_request_cannot_be_shown_under_another_rule(
    case: Case, town: Town, retail: Agent
) -> None:
    refused(case, put(case.proof(), 6, b"deep"))
    refused(case, put(case.proof(), 6, b"mild"), "no such hostile rule")
    refused(case, put(case.proof(), 6, b"everything"))
    refused(case, put(case.proof(), 7, b"d" * 32), "reads otherwise")
    innocent = Case(town, retail, town.branch, arguments(query="a"), "no-drop")
    refused(innocent, innocent.proof(), "does not forbid")


def test_another_roles_rule_does_not_convict(town: Town) -> None:
    clerk = town.agent("clerk-1", "clerk")
    case = Case(town, clerk, town.branch, arguments(a=1), "not-there")
    refused(case, case.proof(), "does not forbid")


def test_a_request_of_another_cluster_does_not_convict(case: Case) -> None:
    case.body = attrs.evolve(case.body, cluster=ClusterId(b"c" * 32))
    refused(case, case.proof(), "another cluster")
    abroad = Town()
    stranger = abroad.agent("bot-1", "retail")
    foreign = Case(abroad, stranger, abroad.branch, case.params, "no-drop")
    refused(case, foreign.proof(), "not a member")


def test_another_agent_or_node_cannot_be_put_in_its_place(
    case: Case, town: Town
) -> None:
    victim = town.agent("victim", "retail")
    elsewhere = town.agent("victim", "retail", node=town.other)
    for other in (victim, elsewhere):
        refused(case, put(case.proof(), 2, other.principal.cert.encoded))
        swapped = put(case.proof(), 1, other.principal.chain.encoded)
        both = put(swapped, 2, other.principal.cert.encoded)
        refused(case, both)
    refused(case, put(case.proof(), 1, town.other.chain.encoded))


def test_a_body_nobody_signed_does_not_convict(case: Case, town: Town) -> None:
    forged = write_body(attrs.evolve(case.body, request_id=b"q" * 16))
    refused(case, put(case.proof(), 3, forged))


@pytest.mark.parametrize("at", [4, 5])
@pytest.mark.parametrize(("begin", "end"), [(0, 3309), (3309, 3373)])
def test_no_half_of_a_signature_can_be_missing(
    case: Case, at: int, begin: int, end: int
) -> None:
    def strip(signature: Value) -> Value:
        assert isinstance(signature, bytes)
        return signature[:begin] + bytes(end - begin) + signature[end:]

    refused(case, bend(case.proof(), at, strip))


def test_agent_and_node_cannot_sign_for_one_another(case: Case) -> None:
    proof = case.proof()
    fields = take_list(unpack_untrusted(proof, 1 << 20), 10, 10)
    fields[4], fields[5] = fields[5], fields[4]
    refused(case, pack(fields))


def test_keys_out_of_force_do_not_convict(case: Case) -> None:
    case.body = attrs.evolve(case.body, issued_at_ms=UnixMs(NOW + 3 * 86_400_000))
    refused(case, case.proof(), "not in force")


def test_a_role_its_node_may_not_grant_is_no_principal(town: Town) -> None:
    with pytest.raises(PeerError, match="may not grant"):
        town.agent("mole", "root")


def test_a_value_cedar_cannot_hold_acquits(town: Town, retail: Agent) -> None:
    params = arguments(query="drop x", approved=2**60)
    case = Case(town, retail, town.branch, params, "no-drop")
    refused(case, case.proof(), "does not forbid")


def test_a_rule_that_errs_acquits(town: Town, retail: Agent) -> None:
    params = arguments(query="drop x", approved="not a boolean")
    case = Case(town, retail, town.branch, params, "no-drop")
    refused(case, case.proof(), "does not forbid")


def test_one_changed_bit_anywhere_convicts_nobody(case: Case) -> None:
    proof = case.proof()
    step = max(1, len(proof) // 60)
    for at in range(0, len(proof), step):
        bent = bytearray(proof)
        bent[at] ^= 1 << at % 8
        refused(case, bytes(bent))


def test_a_chain_verified_before_is_not_verified_again(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof, verified, verify = case.proof(), [], SUITE.verify

    def count(key: bytes, message: bytes, signature: bytes, use: Domain) -> None:
        verified.append(use)
        verify(key, message, signature, use)

    monkeypatch.setattr(SUITE, "verify", count)
    signed = [Domain.REQUEST_AGENT, Domain.REQUEST_NODE]
    certified = [Domain.RENEWAL_CERT, Domain.OPERATIONAL_CERT, Domain.AGENT_CERT]
    case.judge(proof)
    assert verified == certified + signed, "nobody knows its keys"
    verified.clear()
    roster = case.town.roster.twin()
    roster.learn(case.town.branch.chain)
    known = Principals(roster, SUITE)
    for expected in ([Domain.AGENT_CERT, *signed], signed):
        read_proof_untrusted(
            proof, roster=roster, suite=SUITE, policies=find, known=known
        )
        assert verified == expected
        verified.clear()


def test_naming_a_known_key_spares_no_other_chain_its_verification(
    town: Town, case: Case
) -> None:
    roster = town.roster.twin()
    roster.learn(town.branch.chain)
    forged = bytearray(town.branch.chain.encoded)
    forged[-1] ^= 1  # in the last certificate's signature
    known = Principals(roster, SUITE)

    def judge(proof: bytes) -> DeniedRequest | None:
        return read_proof_untrusted(
            proof, roster=roster, suite=SUITE, policies=find, known=known
        )

    for chain in (bytes(forged), town.other.chain.encoded):
        assert judge(case.proof()) is not None, "so that its certificate is known too"
        with pytest.raises(PeerError):
            judge(put(case.proof(), 1, chain))


@given(st.binary(max_size=300))
def test_garbage_is_a_peers_error(data: bytes) -> None:
    with pytest.raises(PeerError):
        read_proof_untrusted(data, roster=_TOWN.roster, suite=SUITE, policies=find)


def test_proofs_are_built_of_what_the_parser_read(town: Town, retail: Agent) -> None:
    """Not of what a test wrote down: numbers, escapes and nulls as they travel."""
    read = read_message_untrusted(
        call("write_query", query="DR\u004fP", n=1.50, e=None)
    )
    assert isinstance(read, Request)
    assert read.params is not None
    case = Case(town, retail, town.branch, read.params, "no-drop")
    assert case.judge(case.proof()) is not None
    assert gate(Position.LOCAL, town, retail, post(town, POLICY)) is not None


def _path(leaf: Value) -> bytes:
    path = take_list(leaf, 4, 5)[1]
    assert isinstance(path, bytes)
    return path


_TOWN = Town()
