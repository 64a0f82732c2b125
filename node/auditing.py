"""Auditing: signs where the trail of decisions stands, and remembers others' heads.

Each hour in which something was decided, and at each start, the trail's head becomes
an entry of the own feed. `picket audit --verify` holds the trail against those.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs
import trio

from gossip import events
from gossip.errors import PeerError, UserError
from gossip.ledger.audit_heads import (
    AuditHead,
    read_audit_head_untrusted,
    write_audit_head,
)
from gossip.ledger.entries import Entry, EntryKind
from gossip.limits import DAY_MS
from gossip.units import NodeId, UnixMs
from node.clock import Clock
from node.config import AuditConfig
from node.database import TrimAudit
from node.log import Log
from node.store import Store

if TYPE_CHECKING:
    from node.daemon import Daemon

SIGN_S: Final = 3_600.0
OWN_MAX: Final = 1_024
"""More than a month of own heads; a feed is kept for that long."""


@attrs.frozen
class Told:
    """A head, and when its node says that it signed it."""

    head: AuditHead
    at_ms: UnixMs


@attrs.define
class Auditor:
    """The heads of all members, this node's own in particular."""

    me: NodeId = attrs.field(repr=bytes.hex)
    store: Store
    clock: Clock
    log: Log
    say: Callable[[int, bytes], None]
    keep: AuditConfig
    latest: dict[NodeId, Told] = attrs.field(init=False, factory=dict)
    """What each member signed last, by its own stamp."""
    _own: deque[Told] = attrs.field(init=False, factory=lambda: deque(maxlen=OWN_MAX))

    @classmethod
    def of(cls, daemon: "Daemon") -> "Auditor":
        """The auditor of a daemon, which has its store and its driver already."""

        def say(kind: int, body: bytes) -> None:
            daemon.driver.handle(events.Say(kind, body))

        keep = daemon.config.audit
        return cls(daemon.me, daemon.store, daemon.clock, daemon.log, say, keep)

    def hear(self, entry: Entry) -> None:
        """An entry was admitted."""
        if entry.kind != EntryKind.AUDIT_HEAD:
            return
        try:
            head = read_audit_head_untrusted(entry.body)
        except PeerError as wrong:
            self.log.debug(f"an audit head is malformed: {wrong}", author=entry.author)
            return
        before = self.latest.get(entry.author)
        if before is None or before.at_ms <= entry.issued_at_ms:
            self.latest[entry.author] = Told(head, entry.issued_at_ms)
        if entry.author == self.me:
            self._own.append(Told(head, entry.issued_at_ms))

    async def run(self) -> None:
        """Sign now and then until cancelled."""
        self._warn_if_shorter()
        while True:
            self.sign()
            await trio.sleep(SIGN_S)

    def sign(self) -> None:
        """Say where the trail stands, unless that was said; let old rows go."""
        self.store.submit(TrimAudit(self.clock.unix_ms()))
        head = self.store.audit_head()
        told = self.latest.get(self.me)
        if head.seq and (told is None or told.head.seq != head.seq):
            self.say(EntryKind.AUDIT_HEAD, write_audit_head(head))

    async def verify(self, others: list[AuditHead]) -> AuditHead:
        """Hold the whole trail against all own heads, and what somebody else kept.

        Raises:
            UserError: it is broken, not what was signed, or begins later than it may.
        """
        signed = [*(told.head for told in self._own), *others]
        found = await self.store.verify_audit(signed)
        self._check_beginning(found)
        return found

    def _check_beginning(self, found: AuditHead) -> None:
        """Whoever owns the disk can let go of more than may go, up to what was signed.
        Rows after a head are younger than its stamp, so too young to be gone, unless
        there were too many."""
        if found.seq - found.base >= self.keep.rows:
            return
        begun = self.clock.unix_ms() - self.keep.days * DAY_MS + int(1_000 * SIGN_S)
        for told in self._own:
            if begun <= told.at_ms and told.head.seq < found.base:
                raise UserError(
                    f"the audit trail begins after row {found.base}, but row"
                    f" {told.head.seq + 1} is too young to be let go: its beginning was"
                    " cut off, or `audit` in the configuration kept less until lately"
                )

    def _warn_if_shorter(self) -> None:
        told, head = self.latest.get(self.me), self.store.audit_head()
        if told is not None and head.seq < told.head.seq:
            self.log.warn(
                f"the audit trail ends at row {head.seq}, but row {told.head.seq} was"
                " signed: was the state folder restored from a backup?"
            )
