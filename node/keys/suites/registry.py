"""Which suite runs: the registry of providers, and the choice among them."""

from typing import Final, Protocol

from gossip.errors import UserError
from gossip.suite import SigningKey, Suite
from node.keys.suites.openssl import OpensslSuite

PROVIDERS: Final = ("auto", "openssl")
"""What `crypto.provider` may say."""


class SuiteWithKeys(Suite, Protocol):
    """A suite that can also make and load secret keys: the daemon's view."""

    def generate_seed(self) -> bytes:
        """A fresh 64-byte signing seed; this is what a keystore keeps."""
        ...

    def signing_key_from_seed(self, seed: bytes) -> SigningKey:
        """Expand ML-DSA seed (32) || Ed25519 seed (32).

        Raises:
            LocalError: the seed is not 64 bytes.
        """
        ...


def load_suite(provider: str = "auto") -> SuiteWithKeys:
    """Load the provider named, or the best one that is usable.

    Raises:
        UserError: no such provider, or it is not usable here.
    """
    if provider not in PROVIDERS:
        known = ", ".join(PROVIDERS)
        raise UserError(f"crypto.provider is `{provider}`; choose one of {known}")
    return OpensslSuite()
