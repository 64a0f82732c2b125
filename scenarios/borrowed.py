"""A real suite in a simulation: its mathematics, with chance from the seed.

Signing still draws entropy of its own, so such a run repeats in what happens
and not in its bytes: its trace digest is its own.
"""

import random
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import cast

import attrs

from gossip.domains import Domain
from gossip.errors import UserError
from gossip.suite import Aead, AgreeSecret, Claim, SigningKey
from scenarios.people import KeySuite
from scenarios.toy import ToySuite


def find_suite(name: str, seed: int) -> KeySuite:
    """The toy suite, or the one of this provider (``openssl``, ``liboqs``).

    Raises:
        UserError: there is no such provider, or it cannot be used here.
    """
    if name == "toy":
        return ToySuite(seed)
    for offer in entry_points(group="picket.suites"):
        real = cast("KeySuite", offer.load()(name))
        return BorrowedSuite(real, random.Random(seed))  # noqa: S311 - replayable
    raise UserError("only the suite `toy` is installed here")


@attrs.define
class BorrowedSuite:
    """Implements `gossip.suite.Suite` by another, but for its entropy."""

    real: KeySuite
    rng: random.Random = attrs.field(repr=False)

    @property
    def suite_id(self) -> int:
        """The real one's number."""
        return self.real.suite_id

    @property
    def provider(self) -> str:
        """Who computes."""
        return self.real.provider

    def signing_key_from_seed(self, seed: bytes) -> SigningKey:
        """A real key."""
        return self.real.signing_key_from_seed(seed)

    def check_public_key(self, public_key: bytes) -> None:
        """As the real one."""
        self.real.check_public_key(public_key)

    def verify(
        self, public_key: bytes, message: bytes, signature: bytes, context: Domain
    ) -> None:
        """As the real one."""
        self.real.verify(public_key, message, signature, context)

    def verify_many(self, claims: Sequence[Claim]) -> list[bool]:
        """As the real one."""
        return self.real.verify_many(claims)

    def random(self, size: int) -> bytes:
        """The next bytes of the seed's stream."""
        return self.rng.randbytes(size)

    def agree_begin(self) -> AgreeSecret:
        """As the real one."""
        return self.real.agree_begin()

    def agree_reply(self, request: bytes) -> tuple[bytes, bytes]:
        """As the real one."""
        return self.real.agree_reply(request)

    def aead(self, key: bytes) -> Aead:
        """As the real one."""
        return self.real.aead(key)
