"""The trace: every event in order, as one digest, and line by line on request."""

import hashlib
import json
import zlib
from typing import TYPE_CHECKING, TextIO

import attrs

from enforcement.decide import rulings
from enforcement.decide.rulings import Ruling
from gossip import effects, events
from gossip.ledger.entries import Entry, Subject
from scenarios.agenda import Agenda
from scenarios.citizen import Citizen

if TYPE_CHECKING:
    from hashlib import _Hash


@attrs.define
class Trace:
    """Digests, and writes if there is a file. Implements `scenarios.onlooker.Onlooker`.

    Two runs are the same run if, and only if, their digests are equal.
    """

    agenda: Agenda
    names: dict[bytes, str]
    out: TextIO | None = None
    _told: "_Hash" = attrs.field(init=False, factory=hashlib.sha256)

    def handled(self, citizen: Citizen, event: events.Event) -> None:
        """One event of one engine; frames count by their bytes."""
        kind = type(event).__name__
        if type(event) is events.Frame:
            size, mark = len(event.data), zlib.crc32(event.data)
            peer = self.names[event.peer]
            self._line(
                f"{self.agenda.now_us} {citizen.index} {kind} {peer} {size} {mark}"
            )
            if self.out is not None:
                self._write(citizen.name, kind, peer=peer, bytes=size)
            return
        self._line(f"{self.agenda.now_us} {citizen.index} {kind}")
        if self.out is not None and type(event) is not events.Restored:
            self._write(citizen.name, kind, what=self._show(event))

    def said(self, citizen: Citizen, kind: int) -> None:
        """Part of the event that follows."""

    def admitted(self, citizen: Citizen, entry: Entry) -> None:
        """An entry entered a ledger."""
        self._line(f"{self.agenda.now_us} {citizen.index} + {entry.id.hex()}")
        if self.out is not None:
            author = self.names.get(entry.author, "a stranger")
            self._write(
                citizen.name, "Admitted", author=author, entry=entry.id.hex()[:16]
            )

    def noted(self, citizen: Citizen, note: effects.Note) -> None:
        """Only what is out of the ordinary is written."""
        if self.out is not None and note.why:
            self._write(citizen.name, f"batch {note.fact.value}", why=note.why)

    def ruled(self, citizen: Citizen, ruling: Ruling) -> None:
        """A court ruled."""
        kind = type(ruling).__name__
        about = ""
        match ruling:
            case rulings.LookAgain(at_ms):
                about = str(at_ms)
            case rulings.StandingChanged(subject, before, after):
                about = f"{self.name(subject)} {before.level.name} {after.level.name}"
            case rulings.Deny(subject) | rulings.Allow(subject):
                about = self.name(subject)
            case rulings.HeldBack(subject):
                about = self.name(subject)
            case rulings.RefuseLink(node) | rulings.AcceptLink(node):
                about = self.names[node]
            case rulings.Disbelieved(entry, why):
                about = f"{self.names.get(entry.author, 'a stranger')}: {why}"
        self._line(f"{self.agenda.now_us} {citizen.index} {kind} {about}")
        if self.out is not None and kind != "LookAgain":
            self._write(citizen.name, kind, about=about)

    def happened(self, who: str, what: str) -> None:
        """The story moved on."""
        self._line(f"{self.agenda.now_us} {who} {what}")
        if self.out is not None:
            self._write(who, "story", what=what)

    def digest(self) -> str:
        """Of everything so far, in hexadecimal."""
        return self._told.hexdigest()

    def name(self, subject: Subject) -> str:
        """A node's name; an agent by the first digits of its id."""
        return self.names.get(subject.id) or str(subject)[:22]

    def _show(self, event: events.Event) -> str:
        match event:
            case events.LinkUp(chain):
                return self.names[chain.node]
            case events.LinkDown(peer):
                return self.names[peer]
            case _:
                return ""

    def _line(self, text: str) -> None:
        self._told.update(text.encode())

    def _write(self, who: str, kind: str, **more: str | int) -> None:
        assert self.out is not None
        line = {"t_ms": self.agenda.now_us / 1_000, "who": who, "event": kind, **more}
        self.out.write(json.dumps(line) + "\n")
