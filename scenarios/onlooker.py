"""What can be seen of a simulation, by whoever measures, checks, draws or records it."""

from typing import Protocol

from enforcement.decide.rulings import Ruling
from gossip import effects, events
from gossip.ledger.entries import Entry
from scenarios.citizen import Citizen


class Onlooker(Protocol):
    """Sees what happens and changes nothing."""

    def handled(self, citizen: Citizen, event: events.Event) -> None:
        """An engine is about to be told something."""
        ...

    def said(self, citizen: Citizen, kind: int) -> None:
        """A node was given something to say."""
        ...

    def admitted(self, citizen: Citizen, entry: Entry) -> None:
        """An entry entered a ledger, and not from the own disk."""
        ...

    def noted(self, citizen: Citizen, note: effects.Note) -> None:
        """An engine found something worth counting."""
        ...

    def ruled(self, citizen: Citizen, ruling: Ruling) -> None:
        """A court ruled."""
        ...

    def happened(self, who: str, what: str) -> None:
        """The story, or a link, moved on. One line for people."""
        ...
