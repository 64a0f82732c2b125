"""What is built of both halves: composite signatures, X-Wing, and HPKE over them."""

import base64
import binascii
import hashlib
import hmac
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from node.keys.suites.hybrid import HybridSuite, representative
from tests.vectors.backends import (
    Backend,
    NotExpressible,
    mldsa_public_key,
    mldsa_verify,
    mlkem_secret,
)
from tests.vectors.cases import Cases, case, elsewhere
from tests.vectors.reading import Json, as_object, has_all, maybe, objects, raw, text

_COMPOSITE: Final = "id-MLDSA65-Ed25519-SHA512"
_PLAIN: Final = "id-ML-DSA-65"
_XWING_LABEL: Final = b"\\.//^\\"
_HPKE_MLKEM_768: Final = 0x0041
_HPKE_XWING: Final = 0x647A
_HPKE_HKDF_SHA256: Final = 1


def is_composite(document: object) -> bool:
    """The composite draft's test vectors, whole or cut down to one algorithm."""
    whole = as_object(document)
    tests = objects(whole.get("tests"))
    return text(whole, "alg") == _COMPOSITE or any(
        text(test, "tcId") == _COMPOSITE for test in tests
    )


def composite_cases(document: object) -> Cases:
    """With and without a context: the vectors' signatures, key and one's own."""
    whole = as_object(document)
    tests = objects(whole.get("tests")) or [whole]
    for test in tests:
        fields = {**whole, **test}
        name = text(test, "tcId") or text(test, "alg")
        if name == _PLAIN:
            yield case("ML-DSA-65", _plain, fields, "s", b"")
            context = _bytes(fields, "ctx")
            yield case(
                "ML-DSA-65 with context", _plain, fields, "sWithContext", context
            )
            continue
        if name != _COMPOSITE:
            yield elsewhere(name)
            continue
        context = _bytes(fields, "ctx")
        yield case("key", _composite_key, fields)
        yield case("signature", _composite, fields, "s", b"")
        yield case(
            "signature with context", _composite, fields, "sWithContext", context
        )


def _composite_key(backend: Backend, fields: Json) -> bool:
    suite, sk = HybridSuite(backend.lattice), _bytes(fields, "sk")
    return suite.signing_key_from_seed(sk).public_key == _bytes(fields, "pk")


def _composite(backend: Backend, fields: Json, field: str, ctx: bytes) -> bool:
    pk, sig, message = _bytes(fields, "pk"), _bytes(fields, field), _bytes(fields, "m")
    label, signed = b"COMPSIG-MLDSA65-Ed25519-SHA512", representative(message, ctx)
    suite = HybridSuite(backend.lattice)
    key = suite.parsed(pk)
    mine = backend.lattice.mldsa_secret(_bytes(fields, "sk")[:32]).sign(signed, label)
    return (
        key.verifies(message, sig, ctx)
        and key.mldsa.verify(signed, mine, label)
        and not key.verifies(message, sig, ctx + b"x")
        and not key.verifies(message + b"x", sig, ctx)
    )


def _plain(backend: Backend, fields: Json, field: str, ctx: bytes) -> bool:
    """ML-DSA-65 alone, which the draft's file carries for comparison."""
    pk, sig, message = (_bytes(fields, key) for key in ("pk", field, "m"))
    if mldsa_public_key(backend, _bytes(fields, "sk")) != pk:
        return False
    return mldsa_verify(backend, pk, message, sig, ctx)


def _bytes(fields: Json, key: str) -> bytes:
    """Hex here, base64 in the draft's own file."""
    value = text(fields, key)
    try:
        return bytes.fromhex(value)
    except ValueError:
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            return value.encode()


def is_xwing(document: object) -> bool:
    """A list of vectors, bare or under ``tests``."""
    return any(has_all(test, ("eseed", "ss", "ct")) for test in _xwing_tests(document))


def xwing_cases(document: object) -> Cases:
    """Key generation, decapsulation, encapsulation with chosen randomness."""
    for number, fields in enumerate(_xwing_tests(document)):
        name = f"vector {number}"
        yield case(f"{name}: key", _xwing_key, fields)
        yield case(f"{name}: decapsulate", _xwing_secret, fields)
        yield case(f"{name}: encapsulate", _xwing_seal, fields)


def _xwing_key(backend: Backend, fields: Json) -> bool:
    return _xwing_public(backend, raw(fields, "sk", "seed")) == raw(fields, "pk")


def _xwing_secret(backend: Backend, fields: Json) -> bool:
    sk, ct = raw(fields, "sk", "seed"), raw(fields, "ct")
    return _xwing_open(backend, sk, ct) == raw(fields, "ss")


def _xwing_tests(document: object) -> list[Json]:
    return objects(document) or objects(as_object(document).get("tests"))


def _xwing_expand(backend: Backend, sk: bytes) -> tuple[bytes, X25519PrivateKey]:
    expanded = hashlib.shake_256(sk).digest(96)
    return expanded[:64], X25519PrivateKey.from_private_bytes(expanded[64:])


def _xwing_public(backend: Backend, sk: bytes) -> bytes:
    seed, x25519 = _xwing_expand(backend, sk)
    ek = mlkem_secret(backend, seed).encapsulation_key
    return ek + x25519.public_key().public_bytes_raw()


def _xwing_open(backend: Backend, sk: bytes, ct: bytes) -> bytes:
    seed, x25519 = _xwing_expand(backend, sk)
    first = mlkem_secret(backend, seed).decapsulate(ct[:1088])
    second = x25519.exchange(X25519PublicKey.from_public_bytes(ct[1088:]))
    public = x25519.public_key().public_bytes_raw()
    return hashlib.sha3_256(first + second + ct[1088:] + public + _XWING_LABEL).digest()


def _xwing_seal(backend: Backend, fields: Json) -> bool:
    pk, eseed = raw(fields, "pk"), raw(fields, "eseed")
    c, first = backend.mlkem_encapsulate_with(pk[:1184], eseed[:32])
    ephemeral = X25519PrivateKey.from_private_bytes(eseed[32:])
    share = ephemeral.public_key().public_bytes_raw()
    second = ephemeral.exchange(X25519PublicKey.from_public_bytes(pk[1184:]))
    mixed = first + second + share + pk[1184:] + _XWING_LABEL
    secret = hashlib.sha3_256(mixed).digest()
    return (c + share, secret) == (raw(fields, "ct"), raw(fields, "ss"))


def is_hpke(document: object) -> bool:
    """A list of RFC 9180 vectors."""
    return any(has_all(test, ("kem_id", "enc", "skRm")) for test in objects(document))


def hpke_cases(document: object) -> Cases:
    """Recipient's key, shared secret, key schedule, every sealed message."""
    for number, fields in enumerate(objects(document)):
        name = f"vector {number}"
        if fields.get("kem_id") not in (_HPKE_MLKEM_768, _HPKE_XWING):
            yield elsewhere(name)
            continue
        yield case(f"{name}: key", _hpke_key, fields)
        yield case(f"{name}: decapsulate", _hpke_secret, fields)
        yield case(f"{name}: open", _hpke_open, fields)


def _hpke_key(backend: Backend, fields: Json) -> bool:
    sk, pk = raw(fields, "skRm"), raw(fields, "pkRm")
    if fields["kem_id"] == _HPKE_XWING:
        return _xwing_public(backend, sk) == pk
    return mlkem_secret(backend, sk).encapsulation_key == pk


def _hpke_shared(backend: Backend, fields: Json) -> bytes:
    sk, enc = raw(fields, "skRm"), raw(fields, "enc")
    if fields["kem_id"] == _HPKE_XWING:
        return _xwing_open(backend, sk, enc)
    return mlkem_secret(backend, sk).decapsulate(enc)


def _hpke_secret(backend: Backend, fields: Json) -> bool:
    return _hpke_shared(backend, fields) == raw(fields, "shared_secret")


def _hpke_open(backend: Backend, fields: Json) -> bool:
    if fields.get("kdf_id") != _HPKE_HKDF_SHA256 or fields.get("mode") != 0:
        raise NotExpressible(
            "a key schedule newer than RFC 9180, in no provider's interface"
        )
    secret, key_bytes = _hpke_shared(backend, fields), len(raw(fields, "key"))
    key, nonce = hpke_schedule(
        raw(fields, "suite_id"), secret, raw(fields, "info"), key_bytes
    )
    if (key, nonce) != (raw(fields, "key"), raw(fields, "base_nonce")):
        return False
    cipher = ChaCha20Poly1305(key) if fields.get("aead_id") == 3 else AESGCM(key)
    for number, sealed in enumerate(objects(fields.get("encryptions"))):
        n = int.from_bytes(nonce, "big") ^ number
        try:
            opened = cipher.decrypt(
                maybe(sealed, "nonce") or n.to_bytes(12, "big"),
                raw(sealed, "ct"),
                raw(sealed, "aad"),
            )
        except InvalidTag:
            return False
        if opened != raw(sealed, "pt"):
            return False
    return True


def hpke_schedule(
    suite_id: bytes, secret: bytes, info: bytes, key_bytes: int
) -> tuple[bytes, bytes]:
    """Key and nonce of RFC 9180, section 5.1, in base mode with HKDF-SHA256."""

    def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        labelled = b"HPKE-v1" + suite_id + label + ikm
        return hmac.digest(salt or bytes(32), labelled, "sha256")

    def expand(prk: bytes, label: bytes, context: bytes, size: int) -> bytes:
        labelled = size.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + context
        return hmac.digest(prk, labelled + b"\x01", "sha256")[:size]

    context = b"\x00" + extract(b"", b"psk_id_hash", b"")
    context += extract(b"", b"info_hash", info)
    prk = extract(secret, b"secret", b"")
    key = expand(prk, b"key", context, key_bytes)
    return key, expand(prk, b"base_nonce", context, 12)
