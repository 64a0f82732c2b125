"""The envelope's bytes: what the reference says, the vectors and the code agree."""

import hashlib
import hmac
import json
from decimal import Decimal
from pathlib import Path
from typing import cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement import limits
from enforcement.mcp.leaves import (
    Leaves,
    TooManyValuesError,
    check_absent_untrusted,
    commit,
    pointer,
    read_leaf_untrusted,
    typed,
    untyped_untrusted,
)
from enforcement.mcp.sharing import (
    derive_key,
    mac_of,
    read_offer_body_untrusted,
    write_offer,
    write_offer_body,
)
from enforcement.mcp.signing import (
    read_body_untrusted,
    read_envelope_untrusted,
    write_body,
    write_envelope,
    write_shared_envelope,
)
from enforcement.mcp.strictjson import Json, read_json_untrusted
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.wire import Value, pack, unpack_untrusted
from node.sealing import SealingKey
from tests.support.births import SUITE

FILE = Path(__file__).parents[2] / "vectors_data" / "envelope.json"
SEED = b"s" * 32


@pytest.fixture(scope="module")
def vector() -> dict[str, object]:
    return cast("dict[str, object]", json.loads(FILE.read_text()))


def raw(vector: dict[str, object], name: str) -> bytes:
    return bytes.fromhex(str(vector[name]))


def h(label: bytes, *parts: bytes) -> bytes:
    """The reference's H, written again from the reference alone."""
    joined = b"".join(len(p).to_bytes(8, "big") + p for p in (label, *parts))
    return hashlib.sha256(joined).digest()


def rfc6962(leaves: list[bytes]) -> bytes:
    """RFC 6962's own recursive definition of the tree, over leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = rfc6962(leaves[:split]), rfc6962(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def test_the_vectors_follow_from_the_reference_alone(
    vector: dict[str, object],
) -> None:
    hashes = []
    for leaf in cast("list[dict[str, str]]", vector["leaves"]):
        path = leaf["path"].encode()
        salt = h(b"picket parameter salt v1", raw(vector, "seed"), path)
        value = h(b"picket parameter value v1", salt, bytes.fromhex(leaf["value"]))
        hashes.append(h(b"picket parameter leaf v1", path, value))
        assert (leaf["salt"], leaf["commit"]) == (salt.hex(), value.hex())
        assert leaf["hash"] == hashes[-1].hex()
    assert rfc6962(hashes) == raw(vector, "root")
    assert len(hashes) == vector["count"]


def test_the_code_makes_the_vectors(vector: dict[str, object]) -> None:
    params = read_json_untrusted(str(vector["params"]).encode(), 100)
    assert isinstance(params, dict)
    leaves = commit(params, raw(vector, "seed"))
    assert (leaves.root, leaves.count) == (raw(vector, "root"), vector["count"])
    body = read_body_untrusted(raw(vector, "body"))
    assert (body.root, body.count) == (leaves.root, leaves.count)
    assert write_body(body) == raw(vector, "body")
    assert (body.server, body.method, body.tool) == ("sql", "tools/call", "write_query")
    envelope = write_envelope(
        raw(vector, "body"),
        raw(vector, "agent_signature"),
        raw(vector, "node_signature"),
        raw(vector, "seed"),
    )
    assert hashlib.sha256(envelope).digest() == raw(vector, "envelope_sha256")
    assert read_envelope_untrusted(envelope).body == body


@pytest.mark.parametrize("who", ["agent", "node"])
def test_the_vectors_signatures_verify(vector: dict[str, object], who: str) -> None:
    key = SUITE.signing_key_from_seed(raw(vector, f"{who}_signing_seed"))
    context = Domain.REQUEST_AGENT if who == "agent" else Domain.REQUEST_NODE
    other = Domain.REQUEST_NODE if who == "agent" else Domain.REQUEST_AGENT
    signature, body = raw(vector, f"{who}_signature"), raw(vector, "body")
    SUITE.verify(key.public_key, body, signature, context)
    with pytest.raises(PeerError):
        SUITE.verify(key.public_key, body, signature, other)


def test_the_vectors_shared_key_follows_from_the_reference_alone(
    vector: dict[str, object],
) -> None:
    shared = cast("dict[str, object]", vector["shared"])
    offer = raw(shared, "offer_body")
    secret = SealingKey.of_seed(raw(shared, "sealing_seed")).open_secret_untrusted(
        raw(shared, "sealed"),
        read_body_untrusted(raw(vector, "body")).cluster,
        read_body_untrusted(raw(vector, "body")).node,
    )
    assert secret == raw(shared, "secret")
    key = h(b"picket shared request key v1", raw(shared, "secret"), offer)
    assert key == raw(shared, "key")
    mac = hmac.digest(key, raw(vector, "body"), "sha256")
    assert mac == raw(shared, "mac")
    for who, context in (("agent", Domain.OFFER_AGENT), ("node", Domain.OFFER_NODE)):
        signer = SUITE.signing_key_from_seed(raw(vector, f"{who}_signing_seed"))
        signature = raw(shared, f"offer_{who}_signature")
        SUITE.verify(signer.public_key, offer, signature, context)


def test_the_code_makes_the_vectors_shared_key(vector: dict[str, object]) -> None:
    shared = cast("dict[str, object]", vector["shared"])
    offer = read_offer_body_untrusted(raw(shared, "offer_body"))
    assert write_offer_body(offer) == raw(shared, "offer_body")
    assert offer.sealed == raw(shared, "sealed")
    assert derive_key(raw(shared, "secret"), raw(shared, "offer_body")) == raw(
        shared, "key"
    )
    assert mac_of(raw(shared, "key"), raw(vector, "body")) == raw(shared, "mac")
    signatures = [raw(shared, f"offer_{who}_signature") for who in ("agent", "node")]
    written = write_shared_envelope(
        raw(vector, "body"),
        raw(shared, "mac"),
        write_offer(raw(shared, "offer_body"), *signatures),
        raw(vector, "seed"),
    )
    assert hashlib.sha256(written).digest() == raw(shared, "envelope_sha256")
    read = read_envelope_untrusted(written)
    assert (read.mac, read.seed) == (raw(shared, "mac"), raw(vector, "seed"))
    assert (read.agent_signature, read.node_signature) == (b"", b"")


numbers = st.integers(-(10**30), 10**30) | st.decimals(
    allow_nan=False, allow_infinity=False, places=6
)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(st.text(max_size=5), below, max_size=4)
    ),
    max_leaves=20,
)
params = st.dictionaries(st.text(max_size=5), values, max_size=5) | st.none()


@given(params)
def test_every_leaf_can_be_proven_and_no_other(
    given_params: dict[str, Json] | None,
) -> None:
    leaves = commit(given_params, SEED)
    for index in range(leaves.count):
        for leaf in (leaves.open(index), leaves.show(index)):
            again = read_leaf_untrusted(_travel(leaf.write()))
            again.check_untrusted(leaves.root, leaves.count)
            for bent in (
                attrs.evolve(again, path=again.path + b"x"),
                attrs.evolve(again, commit=bytes(32)),
                attrs.evolve(again, index=again.index + 1),
                attrs.evolve(again, siblings=(*again.siblings, bytes(32))),
            ):
                with pytest.raises(PeerError):
                    bent.check_untrusted(leaves.root, leaves.count)


@given(params, st.lists(st.text(max_size=5), min_size=1, max_size=3))
def test_absence_is_provable_exactly_when_true(
    given_params: dict[str, Json] | None, parts: list[str]
) -> None:
    leaves, path = commit(given_params, SEED), pointer(parts)
    if leaves.find(path) is None:
        left, right = leaves.around(path)
        check_absent_untrusted(path, left, right, leaves.root, leaves.count)
        return
    for index in range(leaves.count):
        _cannot_be_absent(leaves, path, index)


def _cannot_be_absent(leaves: Leaves, path: bytes, index: int) -> None:
    for right in (*range(leaves.count), None):
        with pytest.raises(PeerError):
            check_absent_untrusted(
                path,
                leaves.show(index),
                None if right is None else leaves.show(right),
                leaves.root,
                leaves.count,
            )


@given(values)
def test_a_typed_value_reads_back_or_is_a_container(value: Json) -> None:
    again, size = untyped_untrusted(typed(value))
    if isinstance(value, (dict, list)):
        assert (type(again), size) == (type(value), len(value))
    else:
        assert again == value
        assert type(again) is type(value)


@given(st.binary(max_size=60))
def test_garbage_is_a_peers_error(data: bytes) -> None:
    for read in (untyped_untrusted, read_body_untrusted, read_envelope_untrusted):
        try:
            read(data)
        except PeerError:
            continue
        assert read is untyped_untrusted


@pytest.mark.parametrize(
    "data",
    [
        b"\x0301",
        b"\x03-0",
        b"\x03+1",
        b"\x03 1",
        b"\x04125e01",
        b"\x0410e0",
        b"\x04NaN",
        b"\x04Infinitye1",
        b"\x0601",
        b"\x06-1",
        b"\x00x",
        b"\x08",
        b"\x031_0",
        b"\x041e9" * 9,
    ],
)
def test_a_value_has_one_encoding(data: bytes) -> None:
    with pytest.raises(PeerError):
        untyped_untrusted(data)


def test_equal_numbers_commit_alike_and_integers_are_not_decimals() -> None:
    forms = ["1250.0", "1.25e3", "1250.00", "12500e-1"]
    assert {typed(Decimal(form)) for form in forms} == {b"\x04125e1"}
    assert typed(Decimal("-0.0")) == typed(Decimal("0e5")) == b"\x040e0"
    assert typed(1250) == b"\x031250"


def test_a_request_holds_so_many_values_and_not_one_more() -> None:
    def items(count: int) -> dict[str, Json]:
        return {"a": [*range(count - 2)]}

    assert commit(items(limits.LEAVES_MAX), SEED).count == limits.LEAVES_MAX
    with pytest.raises(TooManyValuesError):
        commit(items(limits.LEAVES_MAX + 1), SEED)


def _travel(value: list[Value]) -> Value:
    return unpack_untrusted(pack(value), 1 << 20)
