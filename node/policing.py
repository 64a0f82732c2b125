"""The cluster's policy: the bundle that a quorum of operators signed last.

::

    POLICY act ──▶ quorum holds? newer? every file parses? ──▶ in force, the one before
                                                               overlaps for 10 minutes
It takes the place of the node's own folder from then on, at every start again, for
acts are never forgotten. One that does not parse changes nothing.
"""

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from enforcement import limits
from enforcement.defend.bundles import Bundles
from enforcement.defend.policy import Policy
from gossip.errors import PeerError, UserError
from gossip.ledger.entries import Entry, EntryKind
from gossip.limits import ACT_BYTES_MAX, DAY_MS
from gossip.membership.acts import Act, draft_act, read_act_untrusted
from gossip.membership.founders import ActKind
from gossip.membership.roster import Roster
from gossip.suite import SIGNATURE_BYTES, Suite
from gossip.units import UnixMs
from gossip.wire import Value, take_bytes, take_list, take_str
from node.clock import Clock
from node.log import Log

LIFE_MS: Final = 7 * DAY_MS
"""How long operators may take to sign, and the cluster to hear of it."""


@attrs.define
class ClusterPolicy:
    """What operators made the policy of all nodes.

    Attributes:
        texts: The bundle's files, by name; None while each node has its own.
        version: Of the act; 0 without one.
        on_change: Called after a bundle came into force, with its texts.
    """

    roster: Roster
    suite: Suite
    bundles: Bundles
    clock: Clock
    log: Log
    on_change: Callable[[Mapping[str, str]], None] = lambda texts: None
    texts: Mapping[str, str] | None = None
    version: int = 0
    signers: tuple[str, ...] = ()
    _act: bytes = b""

    def hear(self, entry: Entry) -> None:
        """An entry was admitted; most are about other things."""
        if entry.kind != EntryKind.ACT:
            return
        try:
            act = read_act_untrusted(entry.body, self.roster.founders, self.suite)
        except PeerError:
            return  # the court says so
        if act.kind is not ActKind.POLICY or entry.issued_at_ms > act.expires_at_ms:
            return
        if (act.version, act.id) <= (self.version, self._act):
            return
        try:
            self._install(act)
        except (PeerError, UserError) as wrong:
            self.log.error(f"the operators' policy changes nothing: {wrong}")

    def _install(self, act: Act) -> None:
        texts = read_bundle_untrusted(act.payload)
        policy = Policy.load(texts)
        self.bundles.install(policy, self.clock.unix_ms())
        self.texts, self.version = texts, act.version
        self.signers, self._act = act.signers, act.id
        self.log.info(
            "the operators' policy is in force",
            policy=policy.digest,
            signers=", ".join(act.signers),
        )
        self.on_change(texts)


def write_bundle(texts: Mapping[str, str]) -> list[Value]:
    """The payload of a POLICY act."""
    return [[name, texts[name].encode()] for name in sorted(texts)]


def read_bundle_untrusted(payload: Value) -> dict[str, str]:
    """The texts in a POLICY act.

    Raises:
        PeerError: malformed.
    """
    texts: dict[str, str] = {}
    for item in take_list(payload, 1, limits.POLICY_FILES_MAX):
        name, data = take_list(item, 2, 2)
        try:
            text = take_bytes(data, 0, ACT_BYTES_MAX).decode()
        except UnicodeDecodeError:
            raise PeerError("a policy that is not UTF-8") from None
        texts[take_str(name, 1, 128)] = text
    return texts


def draft_policy(texts: Mapping[str, str], roster: Roster, now_ms: UnixMs) -> bytes:
    """What operators sign to make ``texts`` the cluster's policy.

    Raises:
        UserError: it does not parse, or is too large for one act.
    """
    Policy.load(texts)
    founders = roster.founders
    until = UnixMs(now_ms + LIFE_MS)
    payload = write_bundle(texts)
    signatures = founders.quorum[ActKind.POLICY] * (SIGNATURE_BYTES + 64)
    room = ACT_BYTES_MAX - signatures - 1_024
    size = sum(len(name) + len(text.encode()) + 16 for name, text in texts.items())
    if size > room:
        raise UserError(f"the bundle has {size} bytes; one act holds {room}")
    return draft_act(founders.cluster, ActKind.POLICY, now_ms, now_ms, until, payload)
