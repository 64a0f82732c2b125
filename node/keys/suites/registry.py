"""Which suite runs: the registry of providers, and the choice among them."""

import contextlib
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

import attrs

from gossip.errors import UserError
from gossip.suite import SigningKey, Suite
from node.keys.suites.hybrid import HybridSuite
from node.keys.suites.loading import LiboqsRefused, LiboqsSuite
from node.keys.suites.openssl import OpensslSuite
from node.keys.suites.probe import Missing, find_liboqs

PROVIDERS: Final = ("auto", "openssl", "liboqs")
"""What `crypto.provider` may say; `auto` takes liboqs where it is usable."""


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


@attrs.frozen
class ProviderReport:
    """What `picket doctor` says about one provider."""

    name: str
    usable: bool
    version: str | None = None
    path: Path | None = None
    why_not: str | None = None
    """One line that ends in what to do; None where usable."""


def load_suite(provider: str = "auto", state_dir: Path | None = None) -> SuiteWithKeys:
    """Load the provider named, or for ``auto`` the fastest that is usable.

    Call it once, at start, before other threads run; ``state_dir`` is one of
    the places where liboqs may lie.

    Raises:
        UserError: no such provider, or it is not usable here.
    """
    if provider not in PROVIDERS:
        known = ", ".join(PROVIDERS)
        raise UserError(f"crypto.provider is `{provider}`; choose one of {known}")
    if provider == "openssl":
        return OpensslSuite()
    try:
        return _load_liboqs(state_dir)
    except LiboqsRefused as error:
        if provider == "auto":
            return OpensslSuite()
        raise UserError(f"crypto.provider is `liboqs`, but {error}") from error


def providers_report(state_dir: Path | None = None) -> list[ProviderReport]:
    """Try every provider; never raises."""
    return [_report_openssl(), _report_liboqs(state_dir)]


def load_hybrids(state_dir: Path | None = None) -> list[HybridSuite]:
    """Every provider that is usable here, OpenSSL first, to compare them."""
    hybrids: list[HybridSuite] = [OpensslSuite()]
    with contextlib.suppress(LiboqsRefused):
        hybrids.append(_load_liboqs(state_dir))
    return hybrids


def _load_liboqs(state_dir: Path | None) -> LiboqsSuite:
    found = find_liboqs(state_dir)
    if isinstance(found, Missing):
        raise LiboqsRefused(found.why)
    return LiboqsSuite(found.path)


def _report_openssl() -> ProviderReport:
    from cryptography.hazmat.backends.openssl.backend import backend

    text = f"cryptography {version('cryptography')}, {backend.openssl_version_text()}"
    return ProviderReport("openssl", usable=True, version=text)


def _report_liboqs(state_dir: Path | None) -> ProviderReport:
    found = find_liboqs(state_dir)
    if isinstance(found, Missing):
        return ProviderReport(
            "liboqs", usable=False, path=found.path, why_not=found.why
        )
    try:
        LiboqsSuite(found.path)
    except LiboqsRefused as error:
        return ProviderReport(
            "liboqs", False, found.version, found.path, why_not=str(error)
        )
    text = f"liboqs {found.version}, liboqs-python {version('liboqs-python')}"
    return ProviderReport("liboqs", usable=True, version=text, path=found.path)
