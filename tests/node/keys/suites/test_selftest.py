"""The self-test refuses each way a provider could be wrong."""

from collections.abc import Callable

import attrs
import pytest

from gossip.errors import PeerError
from node.keys.suites.hybrid import HybridSuite
from node.keys.suites.lattice import Lattice, MldsaPublic, MldsaSecret, MlkemSecret
from node.keys.suites.openssl import OpensslLattice
from node.keys.suites.selftest import SelfTestFailed, self_test


def test_both_providers_pass(suite: HybridSuite, other: HybridSuite) -> None:
    self_test(suite.lattice, other.lattice)


@attrs.frozen
class Public:
    key: MldsaPublic
    wrong: Callable[[bytes, bytes], bool | None]

    def verify(self, message: bytes, signature: bytes, context: bytes) -> bool:
        verdict = self.wrong(signature, context)
        if verdict is None:
            return self.key.verify(message, signature, context)
        return verdict


class Broken(OpensslLattice):
    """OpenSSL, but for one fault."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def mldsa_public(self, public_key: bytes) -> Public:  # type: ignore[override]  # the fake stands in for the parsed key
        faults: dict[str, Callable[[bytes, bytes], bool | None]] = {
            "accepts all": lambda s, c: True,
            "refuses all": lambda s, c: False,
            "ignores context": lambda s, c: True if c == b"" else None,
            "no norm": lambda s, c: True if s[48] < 200 and not any(s[-61:]) else None,
            "wrong hint": lambda s, c: False if s[-6:] == b"\x01" * 6 else None,
        }
        wrong = faults.get(self.fault, lambda s, c: None)
        return Public(super().mldsa_public(public_key), wrong)

    def mldsa_secret(self, seed: bytes) -> MldsaSecret:  # type: ignore[override]  # widened to the protocol
        other = seed[::-1] if self.fault == "other ML-DSA key" else seed
        return super().mldsa_secret(other)

    def mlkem_secret(self, seed: bytes) -> MlkemSecret:  # type: ignore[override]  # widened to the protocol
        other = seed[::-1] if self.fault == "other ML-KEM key" else seed
        return super().mlkem_secret(other)

    def mlkem_encapsulate(self, encapsulation_key: bytes) -> tuple[bytes, bytes]:
        if self.fault == "takes any ML-KEM key":
            try:
                return super().mlkem_encapsulate(encapsulation_key)
            except PeerError:
                return bytes(1088), bytes(32)
        ciphertext, secret = super().mlkem_encapsulate(encapsulation_key)
        return ciphertext, bytes(32) if self.fault == "other secret" else secret


FAULTS = (
    "accepts all",
    "refuses all",
    "ignores context",
    "no norm",
    "wrong hint",
    "other ML-DSA key",
    "other ML-KEM key",
    "takes any ML-KEM key",
    "other secret",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_provider_is_refused(fault: str) -> None:
    with pytest.raises(SelfTestFailed):
        self_test(Broken(fault), OpensslLattice())


def test_the_fake_without_a_fault_passes() -> None:
    sound: Lattice = Broken("none")
    self_test(sound, OpensslLattice())
