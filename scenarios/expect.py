"""What must hold: safety at every event, liveness once all faults are over.

::

    never         quarantine NAME · deny NAME
    eventually    ledgers agree · standings agree · deliver everything
                  quarantine NAME · deny NAME · clear NAME

NAME is a node, an agent (``agent-7``), a role and then any of its nodes, or
(eventually) ``guilty``: whoever did something by then that others could see.
"Never" is about any honest node; "eventually" about all that are up. What would be
judged over nobody does not hold, but for ``any guilty``: whoever did, if anybody.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from enforcement.decide import rulings
from enforcement.decide.case import Level
from enforcement.decide.court import Court
from enforcement.decide.rulings import Ruling
from gossip import effects, events
from gossip.domains import Domain
from gossip.ledger.entries import Entry, Subject, SubjectKind
from gossip.suite import digest
from scenarios.citizen import Citizen
from scenarios.figures import Figures

AGREEMENTS: Final = ("ledgers agree", "standings agree", "deliver everything")
GUILTY: Final = "guilty"
ANY_GUILTY: Final = "any guilty"
_VERBS: Final = {
    "never": ("quarantine", "deny"),
    "eventually": ("quarantine", "deny", "clear"),
}


def agent(name: str) -> Subject:
    """The agent that scenario files call ``name``."""
    return Subject(SubjectKind.AGENT, digest(Domain.AGENT_ID, name.encode()))


def check_words(key: str, words: str, names: set[str]) -> str | None:
    """What is wrong with an expectation, or None.

    ``names`` are those of all nodes, and of the agents that the story is about.
    """
    if key == "eventually" and words in AGREEMENTS:
        return None
    verb, _, name = words.partition(" ")
    if verb not in _VERBS[key]:
        known = ", ".join(f"`{v} NAME`" for v in _VERBS[key])
        also = "" if key == "never" else ", " + ", ".join(f"`{a}`" for a in AGREEMENTS)
        return f"`{words}` cannot be checked; say {known}{also}"
    roles = {n.rpartition("-")[0] for n in names}
    if name in names or name in roles:
        return None
    if name in (GUILTY, ANY_GUILTY) and key == "eventually":
        return None
    return f"`{words}` is about nobody: there is no `{name}`"


class Violated(Exception):
    """Something happened that must never happen."""


@attrs.define
class Expecting:
    """Watches over a scenario's expectations. Implements `scenarios.onlooker.Onlooker`.

    Raises:
        Violated: from `ruled`, as soon as a `never` happens.
    """

    never: Sequence[str]
    eventually: Sequence[str]
    citizens: Sequence[Citizen]
    figures: Figures
    _forbidden: dict[tuple[str, Subject], str] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        for words in self.never:
            verb, _, name = words.partition(" ")
            for subject in self.subjects(name):
                self._forbidden[verb, subject] = words

    def subjects(self, name: str) -> list[Subject]:
        """Whom an expectation is about."""
        if name in (GUILTY, ANY_GUILTY):
            return list(self.figures.guilty_us)
        if name.startswith("agent-"):
            return [agent(name)]
        return [
            Subject(SubjectKind.NODE, c.node)
            for c in self.citizens
            if name in (c.name, c.plays)
        ]

    # --- never ------------------------------------------------------------------

    def ruled(self, citizen: Citizen, ruling: Ruling) -> None:
        """Check every ruling of honest nodes."""
        if not citizen.role.honest:
            return
        match ruling:
            case rulings.StandingChanged(subject, _, after):
                if after.level is Level.QUARANTINED:
                    self._check("quarantine", subject, citizen)
            case rulings.Deny(subject):
                self._check("deny", subject, citizen)
            case _:
                pass

    def _check(self, verb: str, subject: Subject, citizen: Citizen) -> None:
        words = self._forbidden.get((verb, subject))
        if words is not None:
            raise Violated(
                f"never `{words}`, but {citizen.name} did at"
                f" {self.figures.agenda.now_us / 1e6:.3f} s"
            )

    def handled(self, citizen: Citizen, event: events.Event) -> None:
        """Engines are checked by their promise to raise nothing."""

    def said(self, citizen: Citizen, kind: int) -> None:
        """Saying is no offence."""

    def admitted(self, citizen: Citizen, entry: Entry) -> None:
        """What follows from an entry is seen in the rulings."""

    def noted(self, citizen: Citizen, note: effects.Note) -> None:
        """No honest node may ever look like a liar."""
        if (
            note.fact is effects.Fact.BATCH_FORKED
            and citizen.role.honest
            and note.author in self.figures.innocents
        ):
            raise Violated(f"{citizen.name} saw an honest node contradict itself")

    def happened(self, who: str, what: str) -> None:
        """Faults are no offence."""

    # --- eventually -----------------------------------------------------------------

    def unmet(self) -> list[str]:
        """What of `eventually` does not hold now."""
        return [words for words in self.eventually if not self._holds(words)]

    def failure(self, words: str, within_s: float) -> str:
        """How one of the unmet failed, as a sentence."""
        if not self._living():
            return f"`{words}` is judged over nobody: no honest node is up"
        if words not in AGREEMENTS and not self._pairs(words):
            return f"`{words}` is judged over nobody: there was no such subject"
        return f"`{words}` did not come true within {within_s:g} s"

    def _holds(self, words: str) -> bool:
        living = self._living()
        if not living:
            return False
        if words == "ledgers agree":
            return len({_heads(c) for c in living}) == 1
        if words == "standings agree":
            return len({_quarantined(c) for c in living}) == 1
        if words == "deliver everything":
            return self.figures.summary(self.citizens).get("delivered_percent") == 100
        verb, _, name = words.partition(" ")
        pairs = self._pairs(words)
        if not pairs:
            return name == ANY_GUILTY
        return all(_TRUTHS[verb](court, subject) for subject, court in pairs)

    def _living(self) -> list[Citizen]:
        return [c for c in self.citizens if c.counts]

    def _pairs(self, words: str) -> list[tuple[Subject, Court]]:
        """Whom an expectation is about, and each court that is to judge them."""
        return [
            (subject, citizen.court)
            for subject in self.subjects(words.partition(" ")[2])
            for citizen in self._living()
            if citizen.node != subject.id and citizen.court is not None
        ]


def _is_quarantined(court: Court, subject: Subject) -> bool:
    standing = court.standings().get(subject)
    return standing is not None and standing.level is Level.QUARANTINED


_TRUTHS: Final[dict[str, Callable[[Court, Subject], bool]]] = {
    "quarantine": _is_quarantined,
    "deny": lambda court, subject: court.denial(subject) is not None,
    "clear": lambda court, subject: not _is_quarantined(court, subject),
}


def _heads(citizen: Citizen) -> bytes:
    assert citizen.engine is not None
    told = hashlib.sha256()
    for (author, incarnation), feed in citizen.engine.ledger.heads():
        told.update(author + incarnation + feed.head)
        told.update(feed.next_number.to_bytes(8, "big"))
    return told.digest()


def _quarantined(citizen: Citizen) -> tuple[Subject, ...]:
    assert citizen.court is not None
    return tuple(
        sorted(
            subject
            for subject, standing in citizen.court.standings().items()
            if standing.level is Level.QUARANTINED
        )
    )
