"""Facts: what a rule is shown of a call's parameters, versioned and repeatable.

A rule sees ``context.params`` (the values) and ``context.words`` (the same tree,
each leaf the set of words in it), both cut down to the paths the rules read. So
the provider who denies and the stranger who verifies the proof evaluate the
very same context, although the stranger is shown nothing else.

What Cedar cannot hold exactly (a number with five decimal places, an integer no
double can carry, a text too long to search) denies the call, but only if a rule
reads it. A null counts as absent.
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, TypeAlias

import attrs

from enforcement import limits
from enforcement.folding import SEAM, fold, fold_name
from enforcement.mcp.strictjson import Json

FACTS_VERSION: Final = 2
"""Part of every bundle's digest: other facts, or other limits, are another policy."""

Path: TypeAlias = tuple[str, ...]
Root: TypeAlias = Literal["params", "words"]
Fact: TypeAlias = bool | int | str | list["Fact"] | dict[str, "Fact"]


@attrs.frozen(order=True)
class Read:
    """One thing a rule reads.

    Attributes:
        whole: The value and all below it; else only whether it is there.
    """

    root: Root
    path: Path
    whole: bool


class UnreadableError(Exception):
    """A rule reads something that it cannot be shown exactly."""


def build_context(view: Json, reads: Iterable[Read]) -> dict[str, Fact]:
    """Show ``view`` (a tool's arguments, or a method's params) to some rules.

    Raises:
        UnreadableError: a value read has no exact form for Cedar, or a key
            exists in two spellings that some server takes for one.
    """
    return show_in_order(view, in_order(reads))


def in_order(reads: Iterable[Read]) -> tuple[Read, ...]:
    """Short paths first, so that what is longer finds its trail."""
    return tuple(
        sorted(reads, key=lambda r: (len(r.path), r.path, r.root, r.whole)),
    )


def show_in_order(view: Json, reads: Sequence[Read]) -> dict[str, Fact]:
    """`build_context` for reads that are `in_order` already."""
    context: dict[str, Fact] = {"params": {}, "words": {}}
    budget = _Budget()
    for read in reads:
        _show(context, view, read, budget)
    return context


@attrs.define
class _Budget:
    """How many values, and how much text, may still be shown."""

    values: int = limits.FACT_VALUES_MAX
    chars: int = limits.FACT_CHARS_MAX

    def spend(self, values: int) -> None:
        self.values -= values
        if self.values < 0:
            raise UnreadableError("too many values to check")

    def spend_text(self, text: str) -> None:
        self.chars -= len(text)
        if self.chars < 0 or len(text) > limits.FACT_TEXT_CHARS_MAX:
            raise UnreadableError("a text is too long to be searched")


def _show(context: dict[str, Fact], view: Json, read: Read, budget: _Budget) -> None:
    """Walk down ``read.path`` in the view, leaving the same trail in the context."""
    if len(read.path) == 1 and isinstance(view, dict):
        _show_member(context[read.root], view, read, budget)
        return
    into, name, value = context, str(read.root), view
    for part in read.path:
        if value is None or not isinstance(value, dict):
            break
        _refuse_aliases(value, part)
        trail = into.setdefault(name, {})
        if not isinstance(trail, dict):
            return
        into, name, value = trail, part, value.get(part)
    else:
        if value is not None and read.whole:
            into[name] = _convert(value, read.root, budget)
            return
    if value is not None:
        into.setdefault(name, _outline(value, read, budget))


def _show_member(
    trail: Fact, view: Mapping[str, Json], read: Read, budget: _Budget
) -> None:
    """`_show` for what stands at the top, as nearly all does that rules read."""
    (name,) = read.path
    _refuse_aliases(view, name)
    value = view.get(name)
    if not isinstance(trail, dict) or value is None:
        return
    if read.whole:
        trail[name] = _convert(value, read.root, budget)
    else:
        trail.setdefault(name, _outline(value, read, budget))


def _outline(value: Json, read: Read, budget: _Budget) -> Fact:
    """That something is there, and of which kind, but nothing below it."""
    if isinstance(value, dict):
        return {}
    if isinstance(value, list):
        return []
    if read.whole:  # a scalar where the rule expects more: let it see the scalar
        return _convert(value, read.root, budget)
    return True


def _convert(value: Json, root: Root, budget: _Budget) -> Fact:
    if isinstance(value, dict):
        return _convert_members(value, root, budget)
    if root == "words":
        return _words_below(value, budget)
    budget.spend(1)
    if isinstance(value, list):
        return [_convert(v, root, budget) for v in value if v is not None]
    if isinstance(value, str):
        budget.spend_text(value)
        return value
    return _number(value)


def _convert_members(
    members: Mapping[str, Json], root: Root, budget: _Budget
) -> dict[str, Fact]:
    budget.spend(1 + len(members))
    shown: dict[str, Fact] = {}
    for key, value in members.items():
        if key in ("__entity", "__extn", "__expr"):
            raise UnreadableError(f"the key `{key}` is reserved by Cedar")
        if value is not None:
            shown[key] = _convert(value, root, budget)
    return shown


def _number(value: Json) -> Fact:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > limits.SAFE_INT_MAX:
            raise UnreadableError("an integer is too large to be exact everywhere")
        return value
    assert isinstance(value, Decimal), "null, text and containers are handled above"
    return {"__extn": {"fn": "decimal", "arg": _decimal_text(value)}}


def _decimal_text(value: Decimal) -> str:
    """Cedar's decimal: at most 4 places, and what 64 bits hold of that."""
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int), "JSON has neither NaN nor infinity"
    places = -exponent - (len(digits) - len("".join(map(str, digits)).rstrip("0")))
    if value and places > 4:
        raise UnreadableError("a number has more than 4 decimal places")
    if abs(value) > _DECIMAL_MAX:
        raise UnreadableError("a number is too large to be compared")
    return f"{value:.4f}"


def _words_below(value: Json, budget: _Budget) -> list[Fact]:
    """All words of a scalar, or of everything inside a list, sorted."""
    found: set[str] = set()
    waiting: list[Json] = [value]
    while waiting:
        item = waiting.pop()
        budget.spend(1)
        if isinstance(item, str):
            budget.spend_text(item)
            found |= words(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, bool):
            found.add("true" if item else "false")
        elif item is not None:
            found.add(str(item))
        if len(found) > limits.FACT_WORDS_MAX:
            raise UnreadableError("a text has too many words to be checked")
    return [*sorted(found)]


def _refuse_aliases(members: Mapping[str, Json], wanted: str) -> None:
    if len(members) == 1 and wanted in members:
        return
    folded = fold_name(wanted)
    for key in members:
        if key != wanted and fold_name(key) == folded:
            raise UnreadableError(f"`{key}` could be taken for `{wanted}`")


_DECIMAL_MAX = Decimal("922337203685477.5807")
_WORD = re.compile(r"[a-z0-9_]+")
_ODD = re.compile(
    r"[%&\\#\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]|--|/\*|['\"`]\s*(?:['\"`]|\|\||\+)"
)
"""What makes ASCII text readable in several ways: escapes, comments, joints."""
_PERCENT = re.compile(rb"%([0-9a-f]{2})")
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-f]{2})|u(000[0-9a-f]{5})|u([0-9a-f]{4})|u\{([0-9a-f]{1,6})\}"
    r"|\+([0-9a-f]{6})|([0-9a-f]{4}))"
)
_LINE_COMMENT = re.compile(r"(?:--|#)[^\n]*")
_ADJACENT = re.compile(r"['\"`] ?['\"`]")
_JOIN = re.compile(r"['\"`] ?(?:\|\||\+) ?['\"`]")
_ROUNDS_MAX = 3


def words(text: str) -> set[str]:
    """Every word ``text`` may mean to whoever interprets it.

    Words are runs of ``[a-z0-9_]`` after folding. Added to them are the words that
    appear to whoever knows no letters but these, and once invisible characters,
    escapes (``%5f``, ``\\u005f``, ``&#95;``), comments and joints of literals are
    resolved. Rather one word too many than one hidden. Takes time linear in the text.

    Raises:
        UnreadableError: the text, or what it folds to, is too long.
    """
    folded = fold(text)
    if max(len(text), len(folded)) > limits.FACT_TEXT_CHARS_MAX:
        raise UnreadableError("a text is too long to be searched")
    found = set(_WORD.findall(folded))
    if folded.isascii() and text.isascii() and not _ODD.search(folded):
        return found  # nobody can read anything else there
    found.update(_WORD.findall(text.lower()))
    for form in _forms(folded):
        found.update(_WORD.findall(form))
        found.update(_WORD.findall(_joined(form)))
    return found


def _forms(folded: str) -> Sequence[str]:
    """The text as read by ever more obliging interpreters."""
    forms = [folded.replace(SEAM, "")]
    for _ in range(_ROUNDS_MAX):
        decoded = fold(_unescape(html.unescape(_unquote(forms[-1]))))
        if decoded == forms[-1]:
            break
        if SEAM in decoded:  # it may divide, and it may be nothing
            forms.append(decoded)
        forms.append(decoded.replace(SEAM, ""))
    return forms


def _unquote(text: str) -> str:
    if "%" not in text:
        return text
    data = _PERCENT.sub(lambda match: bytes.fromhex(match[1].decode()), text.encode())
    return data.decode(errors="replace")


def _unescape(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        code = int(next(g for g in match.groups() if g is not None), 16)
        return chr(code) if code <= 0x10FFFF else " "

    return _ESCAPE.sub(character, text)


def _joined(text: str) -> str:
    """Without comments, and with pieces of literals joined. Linear in time."""
    pieces = _LINE_COMMENT.sub(" ", text).split("/*")
    bare = pieces[0] + "".join(piece.partition("*/")[2] for piece in pieces[1:])
    flat = " ".join(bare.split())
    return _ADJACENT.sub("", _JOIN.sub("", flat))
