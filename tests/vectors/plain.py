"""Text files: CCTV's ``key = hex`` and bare keys, and ``.rsp`` files of the KATs."""

import hashlib
import string
from collections.abc import Iterator
from typing import Final

from node.keys.suites.lattice import (
    MLDSA_PUBLIC_BYTES,
    MLDSA_SIGNATURE_BYTES,
    MLKEM_ENCAPSULATION_KEY_BYTES,
)
from node.keys.suites.liboqs import MLKEM_EXPANDED_BYTES
from tests.vectors.backends import (
    Backend,
    NotExpressible,
    mldsa_public_key,
    mldsa_verify,
    mlkem_accepts,
    mlkem_decapsulate,
    mlkem_secret,
)
from tests.vectors.cases import Case, Cases, case, elsewhere, unreadable
from tests.vectors.reading import Json, maybe, raw, records

_HEX: Final = frozenset(string.hexdigits)
_NO_RANDOMNESS: Final = bytes(32)
_KEY_BYTES_OF_OTHERS: Final = (800, 1568)
_KEY_BYTES: Final = (*_KEY_BYTES_OF_OTHERS, MLKEM_ENCAPSULATION_KEY_BYTES)
_NAMES: Final = {
    "ek": ("ek", "pk", "Public Key"),
    "dk": ("dk", "sk", "Secret Key"),
    "c": ("c", "ct", "Ciphertext"),
    "K": ("K", "k", "ss", "Shared Secret A"),
    "m": ("m", "msg", "Message"),
    "bad c": ("ct_n", "Pseudorandom Ciphertext"),
    "bad K": ("ss_n", "Pseudorandom shared Secret A"),
}


def plain_cases(content: str) -> Cases:
    """The file's cases; none where it is no file of ours."""
    lines = [line for line in content.split() if line]
    if lines and all(_is_key(line) for line in lines[:8]):
        yield from _bare_keys(lines)
        return
    for number, record in enumerate(records(content)):
        name = f"record {number}"
        try:
            yield from _record_cases(name, record)
        except ValueError as error:
            yield unreadable(name, error)


def _is_key(line: str) -> bool:
    return len(line) // 2 in _KEY_BYTES and len(line) % 2 == 0 and _HEX.issuperset(line)


def _bare_keys(lines: list[str]) -> Iterator[Case]:
    """CCTV's modulus file: encapsulation keys that must all be refused."""
    for number, line in enumerate(lines):
        name = f"line {number}"
        if not _is_key(line):  # Its length alone would have it refused.
            yield unreadable(name, ValueError("no ML-KEM encapsulation key"))
        elif len(line) // 2 in _KEY_BYTES_OF_OTHERS:
            yield elsewhere(name)
        else:
            yield case(name, _refuses_key, bytes.fromhex(line))


def _record_cases(name: str, record: Json) -> Iterator[Case]:
    if "xi" in record and "sm" in record:
        if len(raw(record, "pk")) != MLDSA_PUBLIC_BYTES:
            yield elsewhere(name)
        else:
            yield case(name, _mldsa_kat, record)
            yield case(f"{name}: sk", _mldsa_expanded, record)
        return
    ek, dk = maybe(record, *_NAMES["ek"]), maybe(record, *_NAMES["dk"])
    if ek is None and dk is None:
        return
    if (ek is not None and len(ek) != MLKEM_ENCAPSULATION_KEY_BYTES) or (
        dk is not None and len(dk) != MLKEM_EXPANDED_BYTES
    ):
        yield elsewhere(name)
        return
    seed = _seed(record)
    if seed is not None and ek is not None:
        yield case(f"{name}: key", _mlkem_key, seed, ek)
        if dk is not None:
            yield case(f"{name}: dk", _mlkem_expanded, seed, ek, dk)
    m, c = maybe(record, *_NAMES["m"]), maybe(record, *_NAMES["c"])
    if ek is not None and m is not None and c is not None:
        secret = raw(record, *_NAMES["K"])
        yield case(f"{name}: encapsulate", _mlkem_seal, ek, m, c, secret)
    for what in ("", "bad "):
        c, k = maybe(record, *_NAMES[what + "c"]), maybe(record, *_NAMES[what + "K"])
        if c is not None and k is not None:
            what = f"{name}: decapsulate {what}".strip()
            yield case(what, _mlkem_open, seed, ek, dk, c, k)


def _seed(record: Json) -> bytes | None:
    coins = maybe(record, "Coins", "coins")
    if coins is not None:
        return coins
    d, z = maybe(record, "d"), maybe(record, "z")
    return None if d is None or z is None else d + z


def _fits(seed: bytes, ek: bytes) -> bool:
    """Whether the key is of FIPS 203 as published: rho out of G(d || k), k = 3."""
    return hashlib.sha3_512(seed[:32] + b"\x03").digest()[:32] == ek[-32:]


def _not_of_a_draft(seed: bytes, ek: bytes) -> None:
    if hashlib.sha3_512(seed[:32]).digest()[:32] == ek[-32:]:
        raise NotExpressible("the seed is of a draft of FIPS 203: G(d), not G(d || k)")


def _mlkem_key(backend: Backend, seed: bytes, ek: bytes) -> bool:
    _not_of_a_draft(seed, ek)
    return mlkem_secret(backend, seed).encapsulation_key == ek


def _mlkem_expanded(backend: Backend, seed: bytes, ek: bytes, dk: bytes) -> bool:
    _not_of_a_draft(seed, ek)
    return backend.mlkem_expand(seed) == dk


def _refuses_key(backend: Backend, ek: bytes) -> bool:
    return not mlkem_accepts(backend, ek)


def _mlkem_seal(backend: Backend, ek: bytes, m: bytes, c: bytes, k: bytes) -> bool:
    return backend.mlkem_encapsulate_with(ek, m) == (c, k)


def _mlkem_open(
    backend: Backend,
    seed: bytes | None,
    ek: bytes | None,
    dk: bytes | None,
    c: bytes,
    k: bytes,
) -> bool:
    """With the expanded key, the seed, or both, whatever there is."""
    by_seed = seed is not None and ek is not None and _fits(seed, ek)
    if by_seed:
        assert seed is not None
        if mlkem_decapsulate(backend, seed, c) != k:
            return False
    try:
        if dk is None:
            raise NotExpressible("the vector has no key to open it with")
        return backend.mlkem_decapsulate_expanded(dk, c) == k
    except NotExpressible:
        if by_seed:
            return True
        raise


def _mldsa_kat(backend: Backend, record: Json) -> bool:
    seed, pk, sm = raw(record, "xi"), raw(record, "pk"), raw(record, "sm")
    signature, msg = sm[:MLDSA_SIGNATURE_BYTES], raw(record, "msg")
    ctx, rnd = maybe(record, "ctx"), maybe(record, "rnd", "rng") or _NO_RANDOMNESS
    if sm[MLDSA_SIGNATURE_BYTES:] != msg or mldsa_public_key(backend, seed) != pk:
        return False
    # Files of the internal interface have the same fields, but for the context.
    pure = mldsa_verify(backend, pk, msg, signature, ctx or b"")
    if not pure and (
        ctx is not None or not backend.mldsa_verify_internal(pk, msg, signature)
    ):
        return False
    try:
        sk = backend.mldsa_expand(seed)
        signed = (
            backend.mldsa_sign(sk, msg, ctx or b"", rnd)
            if pure
            else backend.mldsa_sign_internal(sk, msg, rnd)
        )
    except NotExpressible:
        return True  # Key and signature are right; signing is randomised here.
    return signed == signature


def _mldsa_expanded(backend: Backend, record: Json) -> bool:
    return backend.mldsa_expand(raw(record, "xi")) == raw(record, "sk")
