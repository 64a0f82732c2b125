"""Ending the sessions of whoever was cut off: their servers are killed at once.

Its gate denies every call already. This ends what is still under way: the
process group of a local MCP server, or the stream to a server elsewhere.
"""

import signal
from collections.abc import Callable, Iterable
from typing import Final

import attrs
import trio

from gossip.ledger.entries import Subject, SubjectKind
from node.log import Log
from node.proxy.session import Session
from node.proxy.stdio import ChildBackend

END_S: Final = 5.0


@attrs.define(kw_only=True)
class SessionEnder:
    """Ends the open sessions that concern a subject.

    Args:
        sessions: All that are open now.
    """

    sessions: Callable[[], Iterable[Session]]
    log: Log
    _doomed: set[Subject] = attrs.field(init=False, factory=set)
    _more: trio.Event = attrs.field(init=False, factory=trio.Event)

    def end(self, subject: Subject) -> None:
        """End them soon. Local servers are killed before this returns."""
        for session in self._concerned(subject):
            if isinstance(session.backend, ChildBackend):
                session.backend.child.signal_group(signal.SIGKILL)
        self._doomed.add(subject)
        self._more.set()

    async def run(self) -> None:
        """End what was doomed, until cancelled."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            doomed, self._doomed = self._doomed, set()
            async with trio.open_nursery() as nursery:
                for subject in sorted(doomed):
                    for session in self._concerned(subject):
                        nursery.start_soon(self._close, session)

    async def _close(self, session: Session) -> None:
        with trio.move_on_after(END_S):
            await session.backend.aclose()
        self.log.info("ended a session of somebody quarantined", server=session.server)

    def _concerned(self, subject: Subject) -> list[Session]:
        return [s for s in self.sessions() if self._concerns(s, subject)]

    def _concerns(self, session: Session, subject: Subject) -> bool:
        principal = session.principal
        if subject.kind is SubjectKind.AGENT:
            return principal.agent == subject.id
        if subject.kind is SubjectKind.SESSION:
            return session.name == subject.id
        if subject.kind is not SubjectKind.NODE:
            return False
        return subject.id in (principal.node, session.audience)
