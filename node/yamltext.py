"""YAML as OpenAPI documents use it, read into what JSON can say, and nothing more.

PyYAML takes the text apart; its events become values here, since its own constructor is
of YAML 1.1 (``no`` is false there, ``1:30`` a number) and lets the last of two equal keys
win. Anchors, aliases, tags, merge keys and several documents are refused: they let a
small file become a huge value, or one that two readers see differently.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, Never

import yaml

from enforcement.mcp.strictjson import Json
from gossip.errors import LocalError, PeerError

DEPTH_MAX: Final = 64

_INT: Final = re.compile(r"[-+]?[0-9]{1,64}")
_FLOAT: Final = re.compile(
    r"[-+]?(\.[0-9]{1,64}|[0-9]{1,64}(\.[0-9]{0,64})?)([eE][-+]?[0-9]{1,3})?"
)
_WORDS: Final[dict[str, Json]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def read_yaml_untrusted(text: str) -> Json:
    """Read one document; an empty text is null.

    Scalars are those of the JSON schema of YAML 1.2 (section 10.2), and decimals of
    its core schema; keys are texts as they stand.

    Raises:
        PeerError: not YAML, or more of it than is read here; names the line.
    """
    try:
        return _Values(yaml.parse(text, Loader=yaml.SafeLoader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise PeerError(f"line {line}: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise PeerError(f"line {line}: {error.reason}") from error


class _Values:
    """The events of a text, made into values."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events

    def document(self) -> Json:
        next(self._events)  # the stream begins
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), 0)
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            _fail(after, "another document")
        return value

    def _value(self, event: yaml.Event, depth: int) -> Json:
        _check_plain(event)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if depth == DEPTH_MAX:
            _fail(event, "nested too deeply")
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(item, depth + 1) for item in self._items()]
        mapping: dict[str, Json] = {}
        for event in self._items():
            key = _key(event)
            if key in mapping:
                _fail(event, f"`{key}` stands here twice")
            mapping[key] = self._value(next(self._events), depth + 1)
        return mapping

    def _items(self) -> Iterator[yaml.Event]:
        """What begins the items of a collection, up to its end."""
        for event in self._events:
            if isinstance(event, yaml.CollectionEndEvent):
                return
            yield event


def _check_plain(event: yaml.Event) -> None:
    if isinstance(event, yaml.AliasEvent):
        _fail(event, "aliases are not read here")
    if not isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
        raise LocalError(f"no value begins with {event}")
    if event.anchor is not None:
        _fail(event, "anchors are not read here")
    if event.tag is not None:
        _fail(event, "tags are not read here")


def _key(event: yaml.Event) -> str:
    _check_plain(event)
    if not isinstance(event, yaml.ScalarEvent):
        _fail(event, "a key must be a text")
    if event.value == "<<" and event.style is None:
        _fail(event, "merge keys are not read here")
    return _text(event)


def _scalar(event: yaml.ScalarEvent) -> Json:
    if event.style is not None:
        return _text(event)
    value = event.value
    if value in _WORDS:
        return _WORDS[value]
    if _INT.fullmatch(value):
        return int(value)
    return Decimal(value) if _FLOAT.fullmatch(value) else _text(event)


def _text(event: yaml.ScalarEvent) -> str:
    """JSON escapes what is beyond 16 bits in two halves, which PyYAML leaves apart."""
    try:
        return event.value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        _fail(event, "an escape for half a character")


def _fail(event: yaml.Event, why: str) -> Never:
    line = event.start_mark.line + 1 if event.start_mark else 1
    raise PeerError(f"line {line}: {why}")
