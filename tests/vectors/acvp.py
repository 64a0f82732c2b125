"""NIST ACVP files of ML-DSA (FIPS 204) and ML-KEM (FIPS 203).

Served are files that carry the answers (``internalProjection.json`` and
filtered copies of it) and pairs of ``prompt.json`` and ``expectedResults.json``.
Files older than the two interfaces of ML-DSA mean the internal one.
"""

import hashlib
import json
from typing import Final

from tests.vectors.backends import (
    CONTEXT_BYTES_MAX,
    Backend,
    NotExpressible,
    Refused,
    mldsa_public_key,
    mldsa_verify,
    mlkem_accepts,
    mlkem_secret,
)
from tests.vectors.cases import Cases, case, elsewhere
from tests.vectors.reading import (
    Json,
    as_object,
    has_all,
    maybe,
    objects,
    raw,
    text,
)

_SETS: Final = ("ML-DSA-65", "ML-KEM-768")
_NO_RANDOMNESS: Final = bytes(32)
_NO_ANSWER: Final = "the file has no answer to this case"
_ANSWERS: Final[dict[str, tuple[str, ...]]] = {
    "encapsulationKeyCheck": ("testPassed",),
    "decapsulationKeyCheck": ("testPassed",),
    "encapsulation": ("c", "k"),
    "decapsulation": ("k",),
}
"""What a prompt lacks, by function."""
_OID: Final = bytes.fromhex("0609608648016503040200")[:-1]
_PREHASHES: Final = {
    "SHA2-256": (1, "sha256", None),
    "SHA2-384": (2, "sha384", None),
    "SHA2-512": (3, "sha512", None),
    "SHA2-224": (4, "sha224", None),
    "SHA2-512/224": (5, "sha512_224", None),
    "SHA2-512/256": (6, "sha512_256", None),
    "SHA3-224": (7, "sha3_224", None),
    "SHA3-256": (8, "sha3_256", None),
    "SHA3-384": (9, "sha3_384", None),
    "SHA3-512": (10, "sha3_512", None),
    "SHAKE-128": (11, "shake_128", 32),
    "SHAKE-256": (12, "shake_256", 64),
}
"""Last byte of the object identifier, hashlib's name, output bytes of a XOF."""


def is_acvp(document: object) -> bool:
    """Whether any group names a parameter set."""
    return any(
        text(group, "parameterSet").startswith(("ML-DSA-", "ML-KEM-"))
        and "type" not in group
        for group in groups_of(document)
    )


def groups_of(document: object) -> list[Json]:
    """The test groups; the wire format wraps the document into an array."""
    if isinstance(document, list):
        return [group for part in objects(document) for group in groups_of(part)]
    return objects(as_object(document).get("testGroups"))


def merged(prompt: object, expected: object) -> object:
    """One document of a prompt and its answers, joined by group and case."""
    answers = {
        _place(group, case): case
        for group in groups_of(expected)
        for case in objects(group.get("tests"))
    }
    return {
        "testGroups": [
            {
                **group,
                "tests": [
                    {**case, **answers.get(_place(group, case), {})}
                    for case in objects(group.get("tests"))
                ],
            }
            for group in groups_of(prompt)
        ]
    }


def _place(group: Json, case: Json) -> str:
    return json.dumps([group.get("tgId"), case.get("tcId")])


def acvp_cases(document: object) -> Cases:
    """Every case of every group, the group's fields under its own."""
    for group in groups_of(document):
        shared = {key: value for key, value in group.items() if key != "tests"}
        for test in objects(group.get("tests")):
            fields = {**shared, **test}
            name = f"tcId {fields.get('tcId')}"
            parameters = text(fields, "parameterSet")
            if parameters not in _SETS:
                yield elsewhere(name)
            elif parameters == "ML-DSA-65":
                yield case(name, _mldsa, fields)
                if _is_mldsa_key_gen(fields) and "sk" in fields:
                    yield case(f"{name}: sk", _mldsa_expanded, fields)
            else:
                yield case(name, _mlkem, fields)
                if _is_mlkem_key_gen(fields) and "dk" in fields:
                    yield case(f"{name}: dk", _mlkem_expanded, fields)


def _mldsa(backend: Backend, fields: Json) -> bool:
    if "testPassed" in fields:
        return _sig_ver(backend, fields) == fields["testPassed"]
    if has_all(fields, ("signature", "sk")):
        return _sig_gen(backend, fields)
    if _is_mldsa_key_gen(fields):
        return mldsa_public_key(backend, raw(fields, "seed")) == raw(fields, "pk")
    raise NotExpressible(_NO_ANSWER)


def _is_mldsa_key_gen(fields: Json) -> bool:
    return has_all(fields, ("seed", "pk")) and not {"testPassed", "signature"} & set(
        fields
    )


def _mldsa_expanded(backend: Backend, fields: Json) -> bool:
    return backend.mldsa_expand(raw(fields, "seed")) == raw(fields, "sk")


def _sig_gen(backend: Backend, fields: Json) -> bool:
    signature, pk = raw(fields, "signature"), maybe(fields, "pk")
    try:
        return _sign(backend, fields) == signature
    except NotExpressible:
        if pk is None:
            raise
        if not _verify(backend, fields, pk, signature):
            return False
        raise  # The signature is right; whether sk makes it is not known.


def _sign(backend: Backend, fields: Json) -> bytes:
    sk = raw(fields, "sk")
    deterministic = fields.get("deterministic") is not False
    rnd = _NO_RANDOMNESS if deterministic else raw(fields, "rnd")
    if _takes_mu(fields):
        raise NotExpressible("no provider signs an external mu with an expanded key")
    m_prime = _m_prime(fields)
    if m_prime is None:
        message = raw(fields, "message")
        return backend.mldsa_sign(sk, message, raw(fields, "context"), rnd)
    return backend.mldsa_sign_internal(sk, m_prime, rnd)


def _sig_ver(backend: Backend, fields: Json) -> bool:
    try:
        return _verify(backend, fields, raw(fields, "pk"), raw(fields, "signature"))
    except Refused:
        return False


def _verify(backend: Backend, fields: Json, pk: bytes, signature: bytes) -> bool:
    if _takes_mu(fields):
        return backend.mldsa_verify_mu(pk, raw(fields, "mu"), signature)
    m_prime = _m_prime(fields)
    if m_prime is not None:
        return backend.mldsa_verify_internal(pk, m_prime, signature)
    message, context = raw(fields, "message"), raw(fields, "context")
    return mldsa_verify(backend, pk, message, signature, context)


def _takes_mu(fields: Json) -> bool:
    return not _is_external(fields) and (
        fields.get("externalMu") is True or "message" not in fields
    )


def _is_external(fields: Json) -> bool:
    interface = text(fields, "signatureInterface")
    return interface == "external" or (not interface and "context" in fields)


def _m_prime(fields: Json) -> bytes | None:
    """What the internal interface signs; None for the plain external one."""
    if not _is_external(fields):
        return raw(fields, "message")
    if text(fields, "preHash") != "preHash":
        return None
    algorithm = text(fields, "hashAlg")
    if algorithm not in _PREHASHES:
        raise NotExpressible(f"pre-hash {algorithm} is not known here")
    last, name, size = _PREHASHES[algorithm]
    hasher = hashlib.new(name, raw(fields, "message"))
    digest = hasher.digest() if size is None else _squeeze(name, fields, size)
    context = raw(fields, "context")
    if len(context) > CONTEXT_BYTES_MAX:
        raise Refused("a context that is too long")
    return b"\x01" + bytes([len(context)]) + context + _OID + bytes([last]) + digest


def _squeeze(name: str, fields: Json, size: int) -> bytes:
    xof = hashlib.shake_128 if name == "shake_128" else hashlib.shake_256
    return xof(raw(fields, "message")).digest(size)


def _mlkem(backend: Backend, fields: Json) -> bool:
    function = text(fields, "function")
    if not has_all(fields, _ANSWERS.get(function, ("ek",))):
        raise NotExpressible(_NO_ANSWER)
    if function == "encapsulationKeyCheck":
        return mlkem_accepts(backend, raw(fields, "ek")) == fields["testPassed"]
    if function == "decapsulationKeyCheck":
        return _accepts_dk(backend, raw(fields, "dk")) == fields["testPassed"]
    if function == "encapsulation":
        given = backend.mlkem_encapsulate_with(raw(fields, "ek"), raw(fields, "m"))
        return given == (raw(fields, "c"), raw(fields, "k"))
    if function == "decapsulation":
        dk, c = raw(fields, "dk"), raw(fields, "c")
        return backend.mlkem_decapsulate_expanded(dk, c) == raw(fields, "k")
    if _is_mlkem_key_gen(fields):
        ek = mlkem_secret(backend, _mlkem_seed(fields)).encapsulation_key
        return ek == raw(fields, "ek")
    raise NotExpressible(_NO_ANSWER)


def _is_mlkem_key_gen(fields: Json) -> bool:
    return text(fields, "function") not in _ANSWERS and has_all(
        fields, ("d", "z", "ek")
    )


def _mlkem_seed(fields: Json) -> bytes:
    return raw(fields, "d") + raw(fields, "z")


def _mlkem_expanded(backend: Backend, fields: Json) -> bool:
    return backend.mlkem_expand(_mlkem_seed(fields)) == raw(fields, "dk")


def _accepts_dk(backend: Backend, dk: bytes) -> bool:
    try:
        backend.mlkem_decapsulate_expanded(dk, bytes(1088))
    except Refused:
        return False
    return True
