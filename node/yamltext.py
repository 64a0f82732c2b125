"""YAML 1.2 as OpenAPI documents use it, read into what JSON can say, and nothing more.

Blocks, flows, quoted and folded scalars, comments. Anchors, aliases, tags, merge keys and
several documents are refused by name: they let a small file become a huge value, or one
that two readers see differently. So are duplicate keys and tabs in indentation.
"""

import re
from decimal import Decimal
from typing import Final, NoReturn

from enforcement.mcp.strictjson import Json
from gossip.errors import PeerError

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
_BLOCK: Final = re.compile(r"([|>])([1-9]?)([-+]?)([1-9]?)\s*(?:#.*)?")
_ESCAPES: Final = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f",
    "r": "\r", "e": "\x1b", " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85",
    "\n": "", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_LOW: Final = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_LENGTHS: Final = {"x": 2, "u": 4, "U": 8}


def read_yaml_untrusted(text: str) -> Json:
    """Read one document.

    Raises:
        PeerError: not YAML, or more of it than is read here; names the line.
    """
    return _Reader(text).document()


class _Reader:
    """The lines of a document, and which of them is next."""

    def __init__(self, text: str) -> None:
        self._lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
        self._at = 0
        self._depth = 0

    def document(self) -> Json:
        indent = self._next()
        if indent is not None and self._lines[self._at].rstrip() == "---":
            self._at += 1
            indent = self._next()
        value = None if indent is None else self._block(indent)
        if self._next() is not None:
            line = self._lines[self._at].rstrip()
            self._fail(
                "another document" if line == "---" else "this is indented oddly"
            )
        return value

    def _fail(self, why: str) -> NoReturn:
        raise PeerError(f"line {min(self._at + 1, len(self._lines))}: {why}")

    def _next(self) -> int | None:
        """Go to the next line that says something; its indentation."""
        while self._at < len(self._lines):
            line = self._lines[self._at]
            told = line.lstrip(" ")
            if line.rstrip() == "...":
                break
            if told.strip() and not told.startswith("#"):
                if told.startswith("\t"):
                    self._fail("a tab where spaces must be")
                return len(line) - len(told)
            self._at += 1
        self._at = min(len(self._lines), self._at)
        return None

    def _block(self, indent: int) -> Json:
        """The value whose first line is the next one, indented by so much."""
        self._depth += 1
        if self._depth > DEPTH_MAX:
            self._fail("nested too deeply")
        line = self._lines[self._at][indent:]
        if line == "-" or line.startswith("- "):
            value: Json = self._sequence(indent)
        elif _key_end(line) is not None:
            value = self._mapping(indent)
        else:
            value = self._scalar(indent - 1, line)
        self._depth -= 1
        return value

    def _sequence(self, indent: int) -> Json:
        found: list[Json] = []
        while self._next() == indent:
            line = self._lines[self._at]
            if line[indent : indent + 2] not in ("- ", "-"):
                break
            rest = line[indent + 1 :]
            told = rest.lstrip(" ")
            if not told or told.startswith("#"):
                self._at += 1
                found.append(self._below(indent, indent + 1))
                continue
            inner = len(line) - len(told)
            self._lines[self._at] = " " * inner + told  # the dash is but indentation
            if _key_end(told) is not None or told == "-" or told.startswith("- "):
                found.append(self._block(inner))
            else:
                found.append(self._scalar(indent, told))
        return found

    def _mapping(self, indent: int) -> Json:
        found: dict[str, Json] = {}
        while self._next() == indent:
            line = self._lines[self._at][indent:]
            end = _key_end(line)
            if end is None:
                break
            key = self._key(line[:end].rstrip())
            if key in found:
                self._fail(f"`{key[:40]}` stands here twice")
            told = line[end + 1 :].strip(" ")
            if told and not told.startswith("#"):
                found[key] = self._scalar(indent, told)
            else:
                self._at += 1
                found[key] = self._below(indent, indent)
        return found

    def _below(self, indent: int, sequence: int) -> Json:
        """What is indented below a key or a dash; a key's list may be as far left."""
        deeper = self._next()
        if deeper is None or deeper < indent:
            return None
        line = self._lines[self._at][deeper:]
        listed = line == "-" or line.startswith("- ")
        if deeper > indent or (listed and deeper == sequence):
            return self._block(deeper)
        return None

    def _key(self, text: str) -> str:
        if text.startswith(('"', "'")):
            value, end = self._quoted(text, 0)
            if text[end:].strip():
                self._fail("something follows a quoted key")
            return value
        self._refuse_marks(text)
        if text in ("", "<<"):
            self._fail("merge keys are not read here" if text else "a key is missing")
        return text

    def _scalar(self, indent: int, told: str) -> Json:
        """A value that begins on this line; what continues it is indented more."""
        block = _BLOCK.fullmatch(told)
        if block is not None:
            return self._text(indent, block)
        if told[0] in "[{\"'":
            return self._flow_value(indent, told)
        self._refuse_marks(told)
        if told[0] in "@`%|>?," or told.startswith(("- ", ": ")):
            self._fail("a value that needs quotes")
        words = [_uncommented(told)]
        self._at += 1
        while words[-1] and (deeper := self._peek()) is not None and deeper > indent:
            line = self._lines[self._at].strip()
            if _key_end(line) is not None:
                self._fail("a key where a text goes on")
            words.append(_uncommented(line))
            self._at += 1
        return _plain(" ".join(words).strip())

    def _peek(self) -> int | None:
        """The next line's indentation, if it says something."""
        line = self._lines[self._at] if self._at < len(self._lines) else ""
        told = line.lstrip(" ")
        if not told.strip() or told.startswith("#") or line.rstrip() in ("---", "..."):
            return None
        return len(line) - len(told)

    def _refuse_marks(self, text: str) -> None:
        marks = {"&": "anchors", "*": "aliases", "!": "tags"}
        if text[:1] in marks:
            self._fail(f"{marks[text[0]]} are not read here")

    def _text(self, indent: int, block: "re.Match[str]") -> str:
        """A literal or folded text."""
        folded, given, chomp = block[1] == ">", block[2] or block[4], block[3]
        self._at += 1
        lines: list[str] = []
        depth = max(indent, 0) + int(given) if given else 0
        while self._at < len(self._lines):
            line = self._lines[self._at]
            told = len(line) - len(line.lstrip(" "))
            if line.strip():
                depth = depth or told
                if told < depth or told <= indent:
                    break
            lines.append(line[depth:] if depth else "")
            self._at += 1
        kept = len(lines)
        while kept and not lines[kept - 1].strip():
            kept -= 1
        ending = {"-": "", "+": "\n" * (len(lines) - kept + 1)}.get(chomp, "\n")
        body = _fold(lines[:kept]) if folded else "\n".join(lines[:kept])
        return body + ending if kept else ending.removeprefix("\n")

    def _flow_value(self, indent: int, told: str) -> Json:
        """A flow or quoted value, over as many lines as it takes."""
        started, taken = self._at, 1
        while True:
            more = self._lines[started + 1 : started + taken]
            text = "\n".join([told, *(line.strip(" ") for line in more)])
            try:
                value, end = self._flow(text, 0)
                break
            except _OpenError:
                limit = self._flow_limit(started, indent)
                if taken >= limit:
                    self._fail("this does not end")
                taken = min(2 * taken, limit)
        rest = text[end:].partition("\n")[0].strip()
        if rest and not rest.startswith("#"):
            self._fail("something follows this value")
        self._at = started + text.count("\n", 0, end) + 1
        return value

    def _flow_limit(self, started: int, indent: int) -> int:
        """How many lines a value that begins here may have: none less indented."""
        at = started + 1
        while at < len(self._lines):
            line = self._lines[at]
            if line.strip() and len(line) - len(line.lstrip(" ")) <= indent:
                break
            at += 1
        return at - started

    def _flow(self, text: str, at: int) -> tuple[Json, int]:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            self._fail("nested too deeply")
        try:
            return self._flow_part(text, _skip(text, at))
        finally:
            self._depth -= 1

    def _flow_part(self, text: str, at: int) -> tuple[Json, int]:
        if text[at : at + 1] in ('"', "'"):
            return self._quoted(text, at)
        if text[at] == "[":
            items: list[Json] = []
            at = _skip(text, at + 1)
            while text[at] != "]":
                item, at = self._flow(text, at)
                items.append(item)
                at = self._separated(text, at, "]")
            return items, at + 1
        if text[at] == "{":
            return self._flow_mapping(text, at)
        end = _flow_end(text, at)
        word = " ".join(text[at:end].split())
        self._refuse_marks(word)
        if not word:
            self._fail("a value is missing")
        return _plain(word), end

    def _flow_mapping(self, text: str, at: int) -> tuple[Json, int]:
        found: dict[str, Json] = {}
        at = _skip(text, at + 1)
        while text[at] != "}":
            if text[at] in "\"'":
                key, at = self._quoted(text, at)
            else:
                end = _flow_end(text, at)
                key, at = self._key(" ".join(text[at:end].split())), end
            at = _skip(text, at)
            if key in found:
                self._fail(f"`{key[:40]}` stands here twice")
            found[key] = None
            if text[at] == ":":
                found[key], at = self._flow(text, at + 1)
            at = self._separated(text, at, "}")
        return found, at + 1

    def _separated(self, text: str, at: int, close: str) -> int:
        at = _skip(text, at)
        if text[at] == ",":
            return _skip(text, at + 1)
        if text[at] != close:
            self._fail("a comma is missing")
        return at

    def _quoted(self, text: str, at: int) -> tuple[str, int]:
        quote, out, at = text[at], list[str](), at + 1
        while at < len(text):
            char = text[at]
            if char == quote:
                if quote == "'" and text[at + 1 : at + 2] == "'":
                    out.append("'")
                    at += 2
                    continue
                return "".join(out), at + 1
            if char == "\\" and quote == '"':
                char, at = self._escape(text, at + 1)
                out.append(char)
                continue
            if char == "\n":
                end = at + 1
                while text[end : end + 1] == "\n":
                    end += 1
                out.append("\n" * (end - at - 1) or " ")
                at = end
                continue
            out.append(char)
            at += 1
        raise _OpenError

    def _escape(self, text: str, at: int) -> tuple[str, int]:
        if at >= len(text):
            raise _OpenError
        mark = text[at]
        if mark in _ESCAPES:
            return _ESCAPES[mark], at + 1
        length = _LENGTHS.get(mark, 0)
        digits = text[at + 1 : at + 1 + length]
        if not length or re.fullmatch(f"[0-9a-fA-F]{{{length}}}", digits) is None:
            self._fail("an escape that is none")
        code, at = int(digits, 16), at + 1 + length
        low = _LOW.match(text, at) if 0xD800 <= code < 0xDC00 else None
        if low is not None:  # as JSON writes what is beyond 16 bits
            code, at = (
                0x10000 + (code - 0xD800) * 0x400 + int(low[1], 16) - 0xDC00,
                low.end(),
            )
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            self._fail("an escape that is no character")
        return chr(code), at


class _OpenError(Exception):
    """The text ends before its value does."""


def _key_end(line: str) -> int | None:
    """Where the colon behind a key is; None for a line that begins with no key."""
    at = 0
    if line[:1] in ("[", "{", "#"):
        return None
    if line[:1] in ('"', "'"):
        quote, at = line[0], 1
        while at < len(line) and (line[at] != quote or line[at : at + 2] == "''"):
            at += 2 if line[at] == quote or (line[at], quote) == ("\\", '"') else 1
        at += 1
        rest = line[at:].lstrip(" ")
        colon = len(line) - len(rest)
        return colon if rest == ":" or rest.startswith(": ") else None
    while at < len(line):
        if line[at] == ":" and (at + 1 == len(line) or line[at + 1] == " "):
            return at
        if line[at] == "#" and at and line[at - 1] == " ":
            return None
        at += 1
    return None


def _uncommented(text: str) -> str:
    at = text.find(" #")
    return (text if at < 0 else text[:at]).rstrip()


def _skip(text: str, at: int) -> int:
    while at < len(text):
        if text[at] == "#" and (not at or text[at - 1] in " \n"):
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        elif text[at] not in " \n":
            break
        else:
            at += 1
    if at >= len(text):
        raise _OpenError
    return at


def _flow_end(text: str, at: int) -> int:
    while at < len(text):
        follows = text[at + 1 : at + 2]
        if text[at] in ",[]{}" or (text[at] == ":" and follows in " \n,]}"):
            return at
        if text[at] in " \n" and follows == "#":
            return at
        at += 1
    raise _OpenError


def _plain(word: str) -> Json:
    if word in _WORDS:
        return _WORDS[word]
    if _INT.fullmatch(word):
        return int(word)
    return Decimal(word) if _FLOAT.fullmatch(word) else word


def _fold(lines: list[str]) -> str:
    """Lines joined by spaces, but kept apart around indented and empty ones."""
    out = ""
    for number, line in enumerate(lines):
        if not line:
            out += "\n"
        elif not number:
            out = line
        elif line[:1] == " " or lines[number - 1][:1] == " ":
            out += "\n" + line
        elif out.endswith("\n"):
            out += line
        else:
            out += " " + line
    return out
