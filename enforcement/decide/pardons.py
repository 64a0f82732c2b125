"""What operators' releases pardon, in the fold of one case.

A request's stamp was checked by the honest gate that denied it, so a release pardons
all that were signed before it. Who tells two stories dates them as it likes: would a
release pardon those by their stamps, whoever was let go could go on telling stories
dated before it. So a release names them, as its signers were shown them. Only what is
dated before the life of any key that could still say it to anybody is pardoned by
its stamp: else whoever finds an old key could convict a node that was mended.
"""

from typing import Final

import attrs

from enforcement.decide.remarks import Conviction, Release
from gossip.limits import FUTURE_MS_MAX, OPERATIONAL_LIFE_MS_MAX

REQUEST_SLACK_MS: Final = 120_000
"""A release covers requests signed this long before it, however late reported."""
STORY_SLACK_MS: Final = OPERATIONAL_LIFE_MS_MAX + 5 * FUTURE_MS_MAX
"""And stories of keys that were over this long before it, named or not. A manifest may
be carried under a stamp as old as its carrier's key, which lives so long; two minutes
each may pass before the one key and after the other, after the manifest's, and between
two clocks; and two to be sure."""


@attrs.define
class Pardons:
    """What was pardoned so far, and which stories were not."""

    stories: dict[bytes, Conviction] = attrs.field(init=False, factory=dict)
    """Told and not pardoned, as they were told; by what makes two proofs one."""
    _released_ms: int | None = attrs.field(init=False, default=None)
    _named: set[bytes] = attrs.field(init=False, factory=set)

    def covers(self, proof: Conviction) -> bool:
        """Whether a release pardons a proof that is told now; else its story stands."""
        if self._released_ms is not None and self._is_old(proof):
            return True
        if not proof.dated:
            if proof.offence in self._named:
                return True
            held = self.stories.get(proof.offence)
            if held is None or held.key_ends_ms < proof.key_ends_ms:
                self.stories[proof.offence] = proof
        return False

    def knows(self, offence: bytes) -> bool:
        """Whether a story stands, or a release names it."""
        return offence in self.stories or offence in self._named

    def grant(self, release: Release) -> Conviction | None:
        """Operators release the subject; a story that they do not pardon, if any."""
        self._released_ms = release.order[0]
        self._named |= release.pardons
        self.stories = {
            offence: story
            for offence, story in self.stories.items()
            if offence not in self._named and not self._is_old(story)
        }
        return next(iter(self.stories.values()), None)

    def _is_old(self, proof: Conviction) -> bool:
        assert self._released_ms is not None
        if proof.dated:
            return proof.committed_at_ms <= self._released_ms - REQUEST_SLACK_MS
        return proof.key_ends_ms <= self._released_ms - STORY_SLACK_MS
