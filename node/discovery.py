"""Discovery: agents beside this node hear when tools are withdrawn, or come back.

What a list shows follows from pins and standings; this only says that it is another
now, so that clients ask again instead of calling what is not there any more.
"""

from collections.abc import Callable, Iterable
from typing import Final

import attrs
import trio

from enforcement.detect.pins import Pins
from enforcement.effects import Position
from gossip.ledger.entries import Subject, SubjectKind
from gossip.membership.roster import Roster
from gossip.units import NodeId
from node.proxy.session import Session

NOTICE: Final = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
_SLOW_S: Final = 1.0
"""Who does not take the notice in this time will find out by asking."""


@attrs.define(kw_only=True)
class Discovery:
    """Tells the open sessions of a server that its tools are others now.

    Args:
        sessions: All that are open now.
        own: The servers this node provides.
    """

    pins: Pins
    roster: Roster
    sessions: Callable[[], Iterable[Session]]
    own: Callable[[], Iterable[str]]
    me: NodeId
    _due: set[str] = attrs.field(init=False, factory=set)
    _more: trio.Event = attrs.field(init=False, factory=trio.Event)

    def changed(self, *servers: str) -> None:
        """What these servers' lists show is something else now."""
        if servers:
            self._due.update(servers)
            self._more.set()

    def ruled(self, subject: Subject) -> None:
        """Somebody was cut off, or let go."""
        if subject.kind is SubjectKind.ARTEFACT:
            self.changed(*{tool.server for tool in self.pins.named(subject.id)})
        elif subject.kind is SubjectKind.NODE and subject.id == self.me:
            self.changed(*self.own())
        elif subject.kind is SubjectKind.NODE and subject.id in self.roster:
            self.changed(*self.roster.member(NodeId(subject.id)).servers)

    async def run(self) -> None:
        """Tell whoever is to be told, until cancelled."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            due, self._due = self._due, set()
            async with trio.open_nursery() as nursery:
                for session in self.sessions():
                    beside = session.position is not Position.INGRESS
                    if beside and session.server in due:
                        nursery.start_soon(self._tell, session)

    async def _tell(self, session: Session) -> None:
        with trio.move_on_after(_SLOW_S):
            await session.tell_agent(NOTICE)
