"""Watching: what this node hears and decides, line by line as it happens.

For `picket watch` and whoever else asks on the control socket. Each line has the
local time at which this node got there, in microseconds. A watcher that does not
keep up is hung up on; nobody waits for it.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Final

import attrs
import trio

from enforcement.decide import court as rulings
from enforcement.decide.case import Standing
from enforcement.decide.court import Court, Ruling
from enforcement.decide.story import grounds
from gossip.errors import PeerError
from gossip.ledger.entries import Entry, Proof, Report, Subject
from node.clock import unix_us
from node.jsonlines import Json
from node.names import Names

WAITING_MAX: Final = 1_024
QUIET_S: Final = 3.0
"""After so long without news a line says that there are none."""

Line = dict[str, Json]


@attrs.define
class Watchers:
    """Everybody who watches this node."""

    court: Court
    names: Names = attrs.field(factory=Names)
    now_us: Callable[[], int] = unix_us
    _open: set[trio.MemorySendChannel[Line]] = attrs.field(init=False, factory=set)

    async def watch(self) -> AsyncGenerator[Json, None]:
        """What happens from now on, first a line that says so.

        Raises:
            PeerError: the watcher did not keep up.
        """
        send, receive = trio.open_memory_channel[Line](WAITING_MAX)
        self._open.add(send)
        try:
            yield self._line("watching")
            while True:
                line: Line | None = None
                with trio.move_on_after(QUIET_S):
                    line = await receive.receive()
                yield line or self._line("quiet")
        except trio.EndOfChannel:
            raise PeerError("you did not keep up; ask again") from None
        finally:
            self._open.discard(send)

    def heard(self, entry: Entry, report: Report, at_us: int) -> None:
        """A report was admitted at ``at_us``, and its proof, if it has one, holds."""
        if self._open:
            proof = isinstance(report.evidence, Proof)
            line = self._line(
                "report",
                report.subject,
                id=entry.id.hex(),
                reporter=self.court.roster.name(entry.author),
                category=report.category,
                severity=report.severity,
                **{"class": "proof" if proof else "witness"},
            )
            self._tell(line | {"at_us": at_us})

    def ruled(self, ruling: Ruling, at_us: int) -> None:
        """The court ruled, and what follows is in force since ``at_us``."""
        if not self._open:
            return
        match ruling:
            case rulings.StandingChanged(subject, before, after):
                was, now = _level(before), _level(after)
                line = self._line("standing", subject, was=was, standing=now)
            case rulings.Deny(subject, standing):
                basis = standing.basis.value if standing.basis else None
                why = grounds(self.court, subject, standing)
                until_ms = standing.until_ms
                line = self._line(
                    "deny", subject, basis=basis, until_ms=until_ms, why=why
                )
            case rulings.Allow(subject):
                line = self._line("allow", subject)
            case rulings.HeldBack(subject):
                line = self._line("held-back", subject)
            case rulings.Disbelieved(entry, why):
                reporter = self.court.roster.name(entry.author)
                line = self._line("disbelieved", reporter=reporter, why=why)
            case _:
                return
        self._tell(line | {"at_us": at_us})

    def _tell(self, line: Line) -> None:
        for send in list(self._open):
            try:
                send.send_nowait(line)
            except trio.WouldBlock:
                self._open.discard(send)
                send.close()

    def _line(self, what: str, subject: Subject | None = None, **more: Json) -> Line:
        line: Line = {"event": what, "at_us": self.now_us()}
        if subject is not None:
            line |= {
                "subject": str(subject),
                "name": self.names.tell(self.court, subject),
            }
        return line | more


def _level(standing: Standing) -> str:
    return standing.level.name.lower()
