"""Which words rules ask for, so that calls that differ in others look alike to them.

A rule that asks whether ``context.words.query`` contains `ledger` cannot tell apart
two queries without that word. So they are shown none of their words, and what was
decided of one of them holds for the other.
"""

from collections.abc import Mapping, Sequence

from enforcement.defend.facts import Fact, Path, Read
from enforcement.defend.rules import Rule


def asked_words(rules: Sequence[Rule]) -> Mapping[Path, frozenset[str]]:
    """Where all these rules ask only for a few words: which.

    What is not here is searched in some other way, or read as part of more.
    """
    reads = {read for rule in rules for read in rule.reads}
    whole = {read.path for read in reads if read.root == "words" and read.whole}
    asked: dict[Path, frozenset[str]] = {}
    for path in whole:
        users = [rule for rule in rules if Read("words", path, True) in rule.reads]
        apart = all(other == path or not _overlap(path, other) for other in whole)
        if path and apart and all(path in rule.asks for rule in users):
            asked[path] = frozenset().union(*(rule.asks[path] for rule in users))
    return asked


def keep_words(shown: Fact, path: Path, few: frozenset[str]) -> None:
    """Leave of the words at ``path`` those that are asked for."""
    for name in path[:-1]:
        shown = shown.get(name, {}) if isinstance(shown, dict) else {}
    words = shown.get(path[-1]) if isinstance(shown, dict) else None
    if isinstance(shown, dict) and isinstance(words, list):
        shown[path[-1]] = [word for word in words if word in few]


def _overlap(one: Path, other: Path) -> bool:
    return all(a == b for a, b in zip(one, other, strict=False))
