"""What a scenario expects, asked of real nodes: never, and eventually."""

from collections.abc import Sequence
from typing import Final

from scenarios.demo.control import Line, NoAnswer
from scenarios.expect import ANY_GUILTY, GUILTY, agent
from scenarios.real.nodes import Node
from scenarios.real.seen import Seen

_AGENT: Final = "agent-"


def subjects(name: str, seen: Seen) -> list[str]:
    """Whom an expectation is about, as reports name them."""
    if name in (GUILTY, ANY_GUILTY):
        return [*seen.guilty_us]
    if name.startswith(_AGENT):
        return [str(agent(name))]
    return [node.subject for node in seen.nodes if name in (node.name, node.role)]


def forbidden(never: Sequence[str], seen: Seen) -> dict[tuple[str, str], str]:
    """By verb and subject: what must never happen."""
    return {
        (words.partition(" ")[0], subject): words
        for words in never
        for subject in subjects(words.partition(" ")[2], seen)
    }


async def unmet(eventually: Sequence[str], seen: Seen) -> list[str]:
    """What does not hold now at every living honest node."""
    living = seen.living()
    try:
        rows = {node.name: await node.standings() for node in living}
    except NoAnswer:
        return [*eventually]  # somebody who is up is not ready yet
    return [words for words in eventually if not _holds(words, seen, living, rows)]


def _holds(
    words: str, seen: Seen, living: Sequence[Node], rows: dict[str, list[Line]]
) -> bool:
    if not living:
        return False
    match words:
        case "ledgers agree":
            return len({_heads(node) for node in living}) == 1
        case "standings agree":
            return len({_quarantined(rows[node.name]) for node in living}) == 1
        case "deliver everything":
            return seen.delivered() == 1.0
    verb, _, name = words.partition(" ")
    pairs = [
        (subject, rows[node.name])
        for subject in subjects(name, seen)
        for node in living
        if node.subject != subject
    ]
    if not pairs:  # what is judged over nobody does not hold
        return name == ANY_GUILTY
    return all(_is(verb, subject, told) for subject, told in pairs)


def _is(verb: str, subject: str, rows: Sequence[Line]) -> bool:
    if verb == "deny":
        return any(row["subject"] == subject and row["enforced"] for row in rows)
    return (subject in _quarantined(rows)) == (verb == "quarantine")


def _quarantined(rows: Sequence[Line]) -> frozenset[str]:
    return frozenset(
        str(row["subject"]) for row in rows if row["standing"] == "quarantined"
    )


def _heads(node: Node) -> frozenset[tuple[bytes, bytes, int]]:
    """How far each feed goes on a node's disk."""
    heads: dict[tuple[bytes, bytes], int] = {}
    for author, life, number in node.held():
        heads[author, life] = max(number, heads.get((author, life), 0))
    return frozenset((*feed, number) for feed, number in heads.items())
