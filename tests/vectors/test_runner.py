"""The vector runner itself: each format is read, and a wrong vector is noticed."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from tests.vectors.__main__ import Tally, load_cases, run_cases, vector_files
from tests.vectors.backends import OpensslBackend
from tests.vectors.reading import FILE_BYTES_MAX

SEED, MESSAGE, CONTEXT = bytes(range(32)), b"message", b"context"
SIGNER = MLDSA65PrivateKey.from_seed_bytes(SEED)
PK = SIGNER.public_key().public_bytes_raw()
SIG = SIGNER.sign(MESSAGE, CONTEXT)
KEM_SEED = bytes(range(64))
KEM = MLKEM768PrivateKey.from_seed_bytes(KEM_SEED)
EK = KEM.public_key().public_bytes_raw()
SECRET, CIPHERTEXT = KEM.public_key().encapsulate()
PREHASHED = hashlib.sha256(MESSAGE).digest()
OID_SHA256 = bytes.fromhex("0609608648016503040201")


def flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def acvp(parameters: str, test: dict[str, object], **group: object) -> object:
    test = {"tcId": 1, **test}
    return {"testGroups": [{"parameterSet": parameters, "tests": [test], **group}]}


def external(sig: bytes, passed: bool, ctx: bytes = CONTEXT) -> object:
    test = {
        "pk": PK.hex(),
        "message": MESSAGE.hex(),
        "context": ctx.hex(),
        "signature": sig.hex(),
        "testPassed": passed,
    }
    return acvp("ML-DSA-65", test, signatureInterface="external", preHash="pure")


def prehashed() -> object:
    m_prime = bytes([1, len(CONTEXT)]) + CONTEXT + OID_SHA256 + PREHASHED
    test = {
        "pk": PK.hex(),
        "message": MESSAGE.hex(),
        "context": CONTEXT.hex(),
        "hashAlg": "SHA2-256",
        "signature": SIGNER.sign_mu(mu_of(m_prime)).hex(),
        "testPassed": True,
    }
    return acvp("ML-DSA-65", test, signatureInterface="external", preHash="preHash")


def mu_of(m_prime: bytes) -> bytes:
    return hashlib.shake_256(hashlib.shake_256(PK).digest(64) + m_prime).digest(64)


def internal(external_mu: bool) -> object:
    mu = mu_of(MESSAGE)
    test: dict[str, object] = {
        "pk": PK.hex(),
        "signature": SIGNER.sign_mu(mu).hex(),
        "testPassed": True,
    }
    test |= {"mu": mu.hex()} if external_mu else {"message": MESSAGE.hex()}
    return acvp(
        "ML-DSA-65", test, signatureInterface="internal", externalMu=external_mu
    )


def wycheproof(kind: str, result: str, **fields: bytes) -> object:
    texts = {key: value.hex() for key, value in fields.items()}
    parameters = "ML-DSA-65" if kind.startswith("MlDsa") else "ML-KEM-768"
    test = {"tcId": 1, "result": result, **texts}
    group = {"type": kind, "parameterSet": parameters, "tests": [test]}
    return {"algorithm": parameters, "testGroups": [group]}


GOOD: dict[str, object] = {
    "keyGen": acvp("ML-DSA-65", {"seed": SEED.hex(), "pk": PK.hex()}),
    "sigVer": external(SIG, True),
    "sigVer of a forgery": external(flip(SIG), False),
    "sigVer of another context": external(SIG, False, b"other"),
    "sigVer of a hash": prehashed(),
    "sigVer inside": internal(False),
    "sigVer of mu": internal(True),
    "the wire's array": [{"acvVersion": "1.0"}, external(SIG, True)],
    "ML-KEM keyGen": acvp(
        "ML-KEM-768",
        {"d": KEM_SEED[:32].hex(), "z": KEM_SEED[32:].hex(), "ek": EK.hex()},
    ),
    "ML-KEM key check": acvp(
        "ML-KEM-768",
        {"ek": (b"\xff" * 1184).hex(), "testPassed": False},
        function="encapsulationKeyCheck",
    ),
    "verify": wycheproof("MlDsaVerify", "valid", publicKey=PK, msg=MESSAGE, ctx=CONTEXT, sig=SIG),
    "verify short": wycheproof("MlDsaVerify", "invalid", publicKey=PK[1:], msg=MESSAGE, sig=SIG),
    "sign": wycheproof(
        "MlDsaSign", "valid", privateSeed=SEED, publicKey=PK, msg=MESSAGE, ctx=CONTEXT, sig=SIG
    ),
    "sign short": wycheproof("MlDsaSign", "invalid", privateSeed=SEED[1:], msg=MESSAGE, sig=b""),
    "decapsulate": wycheproof("MLKEMTest", "valid", seed=KEM_SEED, ek=EK, c=CIPHERTEXT, K=SECRET),
    "decapsulate short": wycheproof("MLKEMTest", "invalid", seed=KEM_SEED, c=b"", K=b""),
    "make a key": wycheproof("MLKEMKeyGen", "valid", seed=KEM_SEED, ek=EK),
    "encapsulate": wycheproof("MLKEMEncapsTest", "invalid", ek=b"\xff" * 1184, m=SEED, c=b"", K=b""),
}  # fmt: skip

BAD: dict[str, object] = {
    "keyGen": acvp("ML-DSA-65", {"seed": SEED.hex(), "pk": flip(PK).hex()}),
    "sigVer": external(SIG, False),
    "sigVer of a forgery": external(flip(SIG), True),
    "no such field": acvp("ML-DSA-65", {"testPassed": True, "signature": SIG.hex()}),
    "verify": wycheproof("MlDsaVerify", "invalid", publicKey=PK, msg=MESSAGE, ctx=CONTEXT, sig=SIG),
    "decapsulate": wycheproof("MLKEMTest", "valid", seed=KEM_SEED, ek=EK, c=CIPHERTEXT, K=SEED),
    "make a key": wycheproof("MLKEMKeyGen", "valid", seed=KEM_SEED, ek=flip(EK)),
}  # fmt: skip


@pytest.fixture
def backend() -> OpensslBackend:
    return OpensslBackend()


def write(folder: Path, document: object, name: str = "vectors.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("name", GOOD)
def test_a_right_vector_passes(
    tmp_path: Path, backend: OpensslBackend, name: str
) -> None:
    tally = run_cases(load_cases(write(tmp_path, GOOD[name])), backend)
    assert (tally.passed, tally.failed, tally.not_expressible.total()) == (1, [], 0)


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_vector_fails(
    tmp_path: Path, backend: OpensslBackend, name: str
) -> None:
    tally = run_cases(load_cases(write(tmp_path, BAD[name])), backend)
    assert (tally.passed, len(tally.failed)) == (0, 1)


def judge(document: object, backend: OpensslBackend, folder: Path) -> Tally:
    return run_cases(load_cases(write(folder, document)), backend)


@pytest.mark.parametrize("altered", ["sk", "dk"])
def test_a_part_that_the_provider_never_sees_does_not_pass(
    tmp_path: Path, backend: OpensslBackend, altered: str
) -> None:
    secret = {"sk": bytes(4032).hex()} if altered == "sk" else {"dk": "00" * 2400}
    halves = {"d": KEM_SEED[:32].hex(), "z": KEM_SEED[32:].hex(), "ek": EK.hex()}
    document = (
        acvp("ML-DSA-65", {"seed": SEED.hex(), "pk": PK.hex(), **secret})
        if altered == "sk"
        else acvp("ML-KEM-768", {**halves, **secret})
    )
    tally = judge(document, backend, tmp_path)
    assert (tally.passed, tally.failed) == (1, [])
    assert dict(tally.not_expressible) == {"pyca takes and gives seeds only": 1}


def test_a_signature_that_is_only_verified_is_not_said_to_be_made(
    tmp_path: Path, backend: OpensslBackend
) -> None:
    for signature, failed in ((SIG, 0), (flip(SIG), 1)):
        test: dict[str, object] = {
            "sk": bytes(4032).hex(),
            "pk": PK.hex(),
            "message": MESSAGE.hex(),
            "context": CONTEXT.hex(),
            "signature": signature.hex(),
        }
        document = acvp("ML-DSA-65", test, signatureInterface="external")
        tally = judge(document, backend, tmp_path)
        assert (tally.passed, len(tally.failed)) == (0, failed)


@pytest.mark.parametrize("passed", [True, False])
def test_a_hash_signed_under_too_long_a_context_is_refused_not_a_crash(
    tmp_path: Path, backend: OpensslBackend, passed: bool
) -> None:
    test: dict[str, object] = {
        "pk": PK.hex(),
        "message": MESSAGE.hex(),
        "context": "00" * 256,
        "hashAlg": "SHA2-256",
        "signature": SIG.hex(),
        "testPassed": passed,
    }
    group = {"signatureInterface": "external", "preHash": "preHash"}
    tally = judge(acvp("ML-DSA-65", test, **group), backend, tmp_path)
    assert (tally.passed, len(tally.failed)) == ((0, 1) if passed else (1, 0))


@pytest.mark.parametrize(
    "document",
    [
        acvp("ML-DSA-65", {"seed": SEED.hex()}),
        acvp("ML-DSA-65", {"pk": PK.hex(), "message": "", "signature": SIG.hex()}),
        acvp("ML-KEM-768", {"ek": EK.hex(), "m": "00" * 32}, function="encapsulation"),
        acvp("ML-KEM-768", {"dk": "", "c": ""}, function="decapsulation"),
        acvp("ML-KEM-768", {"ek": EK.hex()}, function="encapsulationKeyCheck"),
        acvp("ML-KEM-768", {"d": "00" * 32, "z": "00" * 32}),
    ],
)
def test_a_prompt_without_answers_neither_passes_nor_fails(
    tmp_path: Path, backend: OpensslBackend, document: object
) -> None:
    tally = judge(document, backend, tmp_path)
    assert (tally.passed, tally.failed) == (0, [])
    assert list(tally.not_expressible) == ["the file has no answer to this case"]


def test_long_hex_is_no_key_that_was_refused(
    tmp_path: Path, backend: OpensslBackend
) -> None:
    blob = tmp_path / "blob.txt"
    blob.write_text("\n".join([PK.hex()] * 9))
    assert load_cases(blob) == []
    blob.write_text("\n".join([*["ff" * 1184] * 8, "ff" * 1952, "no-hex", "f" * 2367]))
    tally = run_cases(load_cases(blob), backend)
    assert (tally.passed, len(tally.failed)) == (8, 3)


def test_a_prompt_finds_its_answers(tmp_path: Path, backend: OpensslBackend) -> None:
    prompt = acvp("ML-DSA-65", {"seed": SEED.hex()}, tgId=7)
    answer = {"testGroups": [{"tgId": 7, "tests": [{"tcId": 1, "pk": PK.hex()}]}]}
    write(tmp_path, prompt, "prompt.json")
    write(tmp_path, answer, "expectedResults.json")
    (path,) = vector_files(tmp_path)
    assert run_cases(load_cases(path), backend).passed == 1


def test_text_records_and_bare_keys_are_read_packed_or_not(
    tmp_path: Path, backend: OpensslBackend
) -> None:
    d, z = KEM_SEED[:32].hex(), KEM_SEED[32:].hex()
    record = f"d = {d}\nz = {z}\nek = {EK.hex()}\nc = {CIPHERTEXT.hex()}\n"
    text = tmp_path / "record.txt"
    text.write_text(record + f"K = {SECRET.hex()}\n")
    assert run_cases(load_cases(text), backend).passed == 2
    text.write_text(record + f"K = {SEED.hex()}\n")
    assert len(run_cases(load_cases(text), backend).failed) == 1
    packed = tmp_path / "modulus.txt.gz"
    packed.write_bytes(gzip.compress(b"\n".join([b"ff" * 1184, EK.hex().encode()])))
    tally = run_cases(load_cases(packed), backend)
    assert (tally.passed, len(tally.failed)) == (1, 1)


def run_on(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.vectors", str(folder), "--provider", "openssl"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )


def test_the_exit_status_says_whether_all_passed(tmp_path: Path) -> None:
    empty = run_on(tmp_path)
    assert empty.returncode == 1
    assert "holds no test vectors" in empty.stdout
    write(tmp_path, GOOD["sigVer"])
    (tmp_path / "notes.txt").write_text("nothing = here\n")
    good = run_on(tmp_path)
    assert good.returncode == 0
    assert "vectors.json: openssl: passed 1, failed 0" in good.stdout
    write(tmp_path, BAD["sigVer"], "wrong.json")
    bad = run_on(tmp_path)
    assert bad.returncode == 1
    assert "wrong.json: openssl: passed 0, failed 1" in bad.stdout


def test_a_file_that_does_not_parse_is_named_and_fails_the_run(tmp_path: Path) -> None:
    write(tmp_path, GOOD["sigVer"])
    for name, content in (
        ("cut.json", "{"),
        ("empty.json", ""),
        ("deep.json", "[" * 200_000),
    ):
        (tmp_path / name).write_text(content)
        told = run_on(tmp_path)
        assert told.returncode == 1
        assert f"{name}: cannot be read: it is no JSON: " in told.stdout
        assert "vectors.json: openssl: passed 1, failed 0" in told.stdout
        (tmp_path / name).unlink()


def test_no_odd_file_keeps_the_others_from_being_run(tmp_path: Path) -> None:
    write(tmp_path, GOOD["sigVer"], "z.json")
    odd = {"testGroups": [{"tgId": [1], "tests": [{"tcId": {}, "pk": 3}]}]}
    (tmp_path / "pair").mkdir()
    for name in ("prompt.json", "expectedResults.json"):
        write(tmp_path / "pair", odd, name)
    (tmp_path / os.fsdecode(b"\xff\xfe\n.json")).write_text("{}")
    harmless = run_on(tmp_path)
    assert (harmless.returncode, harmless.stderr) == (0, "")
    assert "z.json: openssl: passed 1, failed 0" in harmless.stdout

    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(bytes(range(256)))[:40])
    (tmp_path / "bad.txt.gz").write_bytes(b"not gzip")
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    (tmp_path / "odd.rsp").write_text(f"pk = abc\ncount = 1\nek = {EK.hex()}\ndk = f\n")
    told = run_on(tmp_path)
    assert (told.returncode, told.stderr) == (1, "")
    assert "z.json: openssl: passed 1, failed 0" in told.stdout
    for name in ("cut.json.gz", "bad.txt.gz", "huge.json"):
        assert f"{name}: cannot be read: " in told.stdout
    assert "odd.rsp: openssl: passed 0, failed 2" in told.stdout
