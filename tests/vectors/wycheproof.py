"""Wycheproof files (testvectors_v1) of ML-DSA-65 and ML-KEM-768."""

from typing import Final

from tests.vectors.backends import (
    MU_BYTES,
    Backend,
    NotExpressible,
    Refused,
    mldsa_public_key,
    mldsa_sign_seed,
    mldsa_verify,
    mlkem_accepts,
    mlkem_decapsulate,
    mlkem_secret,
)
from tests.vectors.cases import Cases, case, elsewhere, refuses
from tests.vectors.reading import Json, as_object, maybe, objects, raw, text

_TYPES: Final = (
    "MlDsaSign",
    "MlDsaVerify",
    "MLKEMTest",
    "MLKEMEncapsTest",
    "MLKEMKeyGen",
    "MLKEMDecapsValidationTest",
)
_NO_RANDOMNESS: Final = bytes(32)


def is_wycheproof(document: object) -> bool:
    """Whether any group is of a type served here."""
    groups = objects(as_object(document).get("testGroups"))
    return any(text(group, "type") in _TYPES for group in groups)


def wycheproof_cases(document: object) -> Cases:
    """Every case of every group, the group's fields under its own."""
    whole = as_object(document)
    for group in objects(whole.get("testGroups")):
        shared = {key: value for key, value in group.items() if key != "tests"}
        parameters = text(group, "parameterSet") or text(whole, "algorithm")
        for test in objects(group.get("tests")):
            fields = {**shared, **test}
            name = f"tcId {fields.get('tcId')} {text(fields, 'comment')}".strip()
            if parameters not in ("ML-DSA-65", "ML-KEM-768"):
                yield elsewhere(name)
                continue
            yield case(name, _holds, fields)
            if _tells_dk(fields):
                yield case(f"{name}: dk", _mlkem_expanded, fields)


def _holds(backend: Backend, fields: Json) -> bool:
    kind, result = text(fields, "type"), text(fields, "result")
    if result not in ("valid", "invalid"):
        raise NotExpressible(f"the vector leaves the result open: {result}")
    valid = result == "valid"
    if kind == "MlDsaVerify":
        return _verifies(backend, fields) == valid
    if kind == "MlDsaSign":
        if "privateSeed" in fields:
            return _signs_seed(backend, fields, valid=valid)
        return _signs_expanded(backend, fields, valid=valid)
    if kind == "MLKEMEncapsTest":
        return _encapsulates(backend, fields, valid=valid)
    if kind == "MLKEMTest":
        return _decapsulates(backend, fields, valid=valid)
    if kind == "MLKEMKeyGen":
        return _makes_key(backend, fields, valid=valid)
    if kind == "MLKEMDecapsValidationTest":
        return _decapsulates_expanded(backend, fields, valid=valid)
    raise NotExpressible(f"tests of type {kind} are not known here")


def _verifies(backend: Backend, fields: Json) -> bool:
    pk, sig = raw(fields, "publicKey"), raw(fields, "sig")
    msg = maybe(fields, "msg")
    if msg is None:
        return backend.mldsa_verify_mu(pk, raw(fields, "mu"), sig)
    return mldsa_verify(backend, pk, msg, sig, maybe(fields, "ctx") or b"")


def _signs_seed(backend: Backend, fields: Json, *, valid: bool) -> bool:
    seed, ctx = raw(fields, "privateSeed"), maybe(fields, "ctx") or b""
    msg, mu = maybe(fields, "msg"), maybe(fields, "mu")
    if not valid:
        return refuses(lambda: mldsa_sign_seed(backend, seed, msg or b"", ctx))
    pk, sig = raw(fields, "publicKey"), raw(fields, "sig")
    if mldsa_public_key(backend, seed) != pk:
        return False
    if msg is None:
        assert mu is not None
        assert len(mu) == MU_BYTES
        mine = backend.mldsa_sign_mu(seed, mu)
        return all(backend.mldsa_verify_mu(pk, mu, s) for s in (sig, mine))
    mine = mldsa_sign_seed(backend, seed, msg, ctx)
    if not all(mldsa_verify(backend, pk, msg, s, ctx) for s in (sig, mine)):
        return False
    try:
        rnd = maybe(fields, "rnd") or _NO_RANDOMNESS
        return backend.mldsa_sign(backend.mldsa_expand(seed), msg, ctx, rnd) == sig
    except NotExpressible:
        return True  # Key, the vector's signature and one's own are right.


def _signs_expanded(backend: Backend, fields: Json, *, valid: bool) -> bool:
    sk, ctx, msg = (
        raw(fields, "privateKey"),
        maybe(fields, "ctx") or b"",
        maybe(fields, "msg"),
    )
    rnd = maybe(fields, "rnd") or _NO_RANDOMNESS
    if not valid:
        flags = fields.get("flags")
        if isinstance(flags, list) and "InvalidPrivateKey" in flags:
            raise NotExpressible("no provider checks an expanded key's coefficients")
        return refuses(lambda: backend.mldsa_sign(sk, msg or b"", ctx, rnd))
    pk, sig = raw(fields, "publicKey"), raw(fields, "sig")
    try:
        if msg is None:
            raise NotExpressible("liboqs takes no external mu")
        return backend.mldsa_sign(sk, msg, ctx, rnd) == sig
    except NotExpressible:
        if not _verifies(backend, {**fields, "publicKey": pk.hex()}):
            return False
        raise  # The signature is right; whether the key makes it is not known.


def _encapsulates(backend: Backend, fields: Json, *, valid: bool) -> bool:
    ek, m = raw(fields, "ek"), raw(fields, "m")
    if not valid:
        if not mlkem_accepts(backend, ek):
            return True
        return refuses(lambda: backend.mlkem_encapsulate_with(ek, m))
    if not mlkem_accepts(backend, ek):
        return False
    return backend.mlkem_encapsulate_with(ek, m) == (raw(fields, "c"), raw(fields, "K"))


def _decapsulates(backend: Backend, fields: Json, *, valid: bool) -> bool:
    seed, c = raw(fields, "seed"), raw(fields, "c")
    if not valid:
        return refuses(lambda: mlkem_decapsulate(backend, seed, c))
    ek = maybe(fields, "ek")
    if ek is not None and mlkem_secret(backend, seed).encapsulation_key != ek:
        return False
    return mlkem_decapsulate(backend, seed, c) == raw(fields, "K")


def _makes_key(backend: Backend, fields: Json, *, valid: bool) -> bool:
    seed = raw(fields, "seed")
    if not valid:
        return refuses(lambda: mlkem_secret(backend, seed))
    return mlkem_secret(backend, seed).encapsulation_key == raw(fields, "ek")


def _tells_dk(fields: Json) -> bool:
    kind, result = text(fields, "type"), text(fields, "result")
    return kind == "MLKEMKeyGen" and result == "valid" and "dk" in fields


def _mlkem_expanded(backend: Backend, fields: Json) -> bool:
    return backend.mlkem_expand(raw(fields, "seed")) == raw(fields, "dk")


def _decapsulates_expanded(backend: Backend, fields: Json, *, valid: bool) -> bool:
    dk, c = raw(fields, "dk"), raw(fields, "c")
    try:
        secret = backend.mlkem_decapsulate_expanded(dk, c)
    except Refused:
        return not valid
    return valid and secret == raw(fields, "K")
