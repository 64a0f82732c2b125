"""Operator acts: the only override, and only by a quorum.

An act is one signed kind of feed entry. It names its cluster, its kind, what it
is about, a version and an expiry; any node may carry it, since what counts is
the operators' signatures inside and not who brought it.
"""

import attrs

from gossip import limits
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.membership.founders import ActKind, Founders
from gossip.suite import SIGNATURE_BYTES, SigningKey, Suite, digest, key_id
from gossip.units import ID_BYTES, UNIX_MS_MAX, ClusterId, KeyId, UnixMs
from gossip.wire import (
    Value,
    pack,
    take_bytes,
    take_int,
    take_list,
    take_str,
    unpack_untrusted,
)

_VERSION = 1


@attrs.frozen(kw_only=True)
class Act:
    """One act as the operators signed it, its quorum verified.

    Attributes:
        version: Grows with each act about the same thing; the highest wins.
        payload: What exactly, as the kind defines it.
        signers: Names of the operators who signed, in the file's order.
    """

    id: bytes = attrs.field(repr=bytes.hex)
    kind: ActKind
    version: int
    issued_at_ms: UnixMs
    expires_at_ms: UnixMs
    payload: Value
    signers: tuple[str, ...]
    encoded: bytes = attrs.field(repr=False)


def draft_act(
    cluster: ClusterId,
    kind: ActKind,
    version: int,
    issued_at_ms: UnixMs,
    expires_at_ms: UnixMs,
    payload: Value,
) -> bytes:
    """What the operators sign; the same bytes for all of them."""
    return pack(
        [_VERSION, cluster, kind.value, version, issued_at_ms, expires_at_ms, payload]
    )


def sign_act(draft: bytes, key: SigningKey) -> tuple[KeyId, bytes]:
    """One operator's signature under a draft."""
    return key_id(key.public_key), key.sign(draft, Domain.ACT)


def join_act(draft: bytes, signatures: list[tuple[KeyId, bytes]]) -> bytes:
    """A draft and its signatures, as an entry's body."""
    pairs: list[Value] = [[key, signature] for key, signature in sorted(signatures)]
    return pack([draft, pairs])


def read_draft_untrusted(draft: bytes, cluster: ClusterId | None = None) -> Act:
    """Read what operators are asked to sign. Nobody has signed it as far as this says.

    Raises:
        PeerError: malformed, or for another cluster than the one given.
    """
    fields = take_list(unpack_untrusted(draft, limits.ACT_BYTES_MAX), 7, 7)
    take_int(fields[0], _VERSION, _VERSION)
    named = take_bytes(fields[1], ID_BYTES, ID_BYTES)
    if cluster is not None and named != cluster:
        raise PeerError("the act is for another cluster")
    try:
        kind = ActKind(take_str(fields[2], 1, limits.NAME_CHARS_MAX))
    except ValueError as wrong:
        raise PeerError("an unknown kind of act") from wrong
    issued = take_int(fields[4], 0, UNIX_MS_MAX)
    expires = take_int(fields[5], issued, issued + limits.ACT_LIFE_MS_MAX)
    return Act(
        id=digest(Domain.ACT_ID, draft),
        kind=kind,
        version=take_int(fields[3], 0, UNIX_MS_MAX),
        issued_at_ms=UnixMs(issued),
        expires_at_ms=UnixMs(expires),
        payload=fields[6],
        signers=(),
        encoded=draft,
    )


def read_act_untrusted(data: bytes, founders: Founders, suite: Suite) -> Act:
    """Verify an act and its quorum. Expiry is the reader's to judge.

    Raises:
        PeerError: malformed, for another cluster, a signature fails, or too
            few different operators signed.
    """
    parts = take_list(unpack_untrusted(data, limits.ACT_BYTES_MAX), 2, 2)
    draft = take_bytes(parts[0], 1, limits.ACT_BYTES_MAX)
    act = read_draft_untrusted(draft, founders.cluster)
    signers = _verify_quorum(parts[1], draft, act.kind, founders, suite)
    return attrs.evolve(act, signers=signers, encoded=data)


def _verify_quorum(
    value: Value, draft: bytes, kind: ActKind, founders: Founders, suite: Suite
) -> tuple[str, ...]:
    operators = {operator.key: operator for operator in founders.operators}
    signed: set[KeyId] = set()
    for pair in take_list(value, 1, limits.OPERATORS_MAX):
        key_value, signature_value = take_list(pair, 2, 2)
        key = KeyId(take_bytes(key_value, ID_BYTES, ID_BYTES))
        signature = take_bytes(signature_value, SIGNATURE_BYTES, SIGNATURE_BYTES)
        operator = operators.get(key)
        if operator is None or key in signed:
            raise PeerError("an act signed by a stranger, or twice by one operator")
        suite.verify(operator.public_key, draft, signature, Domain.ACT)
        signed.add(key)
    if len(signed) < founders.quorum[kind]:
        raise PeerError(
            f"{len(signed)} of {founders.quorum[kind]} operators signed this act"
        )
    return tuple(o.name for o in founders.operators if o.key in signed)
