"""Which policy bundle counts: the current one, and for ten minutes the one before."""

import attrs

from enforcement import limits
from enforcement.defend.policy import Policy
from gossip.units import UnixMs


@attrs.define
class Bundles:
    """The node's bundles. One object for all gates of a daemon.

    Change it with `install`, which is all or nothing: the caller has loaded the
    new policy before, so a typo never leaves a node without one.
    """

    current: Policy
    _changed_ms: UnixMs = attrs.field(init=False, default=UnixMs(0))
    _previous: Policy | None = attrs.field(init=False, default=None)
    _known: dict[bytes, Policy] = attrs.field(init=False, factory=dict, repr=False)

    def __attrs_post_init__(self) -> None:
        self._known[self.current.digest] = self.current

    def install(self, policy: Policy, now_ms: UnixMs) -> None:
        """Make ``policy`` the current one from ``now_ms`` on."""
        if policy.digest == self.current.digest:
            return
        self._previous, self.current = self.current, policy
        self._changed_ms = now_ms
        self._known.pop(policy.digest, None)
        self._known[policy.digest] = policy
        while len(self._known) > limits.BUNDLES_KEPT_MAX:
            del self._known[next(iter(self._known))]

    def accepted(self, digest: bytes, now_ms: UnixMs) -> Policy | None:
        """The bundle a request signed at about ``now_ms`` may name, if it is that."""
        if digest == self.current.digest:
            return self.current
        overlap = now_ms - self._changed_ms <= limits.BUNDLE_OVERLAP_MS
        if self._previous is not None and digest == self._previous.digest and overlap:
            return self._previous
        return None

    def find(self, digest: bytes) -> Policy | None:
        """Any bundle this node still remembers: what proofs are judged by."""
        return self._known.get(digest)
