"""Folding: one spelling for all texts that somebody may take for the same.

::

    full-width, bold, Cyrillic I ──▶ i     fi ligature ──▶ fi     NUL, marks ──▶ SEAM

Each character by itself, so that no text takes more than linear time or grows by more
than four: normalising a whole text sorts its runs of marks, which is quadratic. What
nobody sees, and what no reader here knows, is a `SEAM`: whoever reads on decides
whether it divides or joins, or tries both.

Characters are looked up in edition 3.2 of Unicode, which all versions of Python carry:
two nodes that read one request in two ways could convict an innocent.
"""

import re
import unicodedata
from string import ascii_lowercase
from typing import Final

SEAM: Final = "\ufffd"
EXPANSION_MAX: Final = 4
"""Letters that one character may become; of more, the first count."""

_UNICODE = unicodedata.ucd_3_2_0
_SHORT: Final = 64
_FAR: Final = re.compile(
    "[\U00010000-\U0001d3ff\U0001d800-\U0001f10f\U0001f200-\U0010ffff]+"
)
"""Beyond the first plane only letters for mathematicians, boxed and flag letters count.

So the table below has a bound: some 67 000 characters, whatever is sent.
"""
_BLANK: Final = frozenset({"Zs", "Zl", "Zp"})
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Me", "Mn"})
_EMPTY: Final = frozenset("\u00ad\u115f\u1160\u17b4\u17b5\u180e\u200b\u3164\uffa0")
"""Letters, blanks or dashes by category that show nothing."""
_BRAILLE_BLANK: Final = "\u2800"


def _pairs(ours: str, theirs: str) -> dict[str, str]:
    return dict(zip(theirs, ours, strict=True))


_ALIKE: Final = {
    **_pairs(  # Cyrillic
        "aeocpyxsijhdvkmtbhabesijkmhopctyx",
        "\u0430\u0435\u043e\u0441\u0440\u0443\u0445\u0455\u0456\u0458\u04bb\u0501"
        "\u0475\u043a\u043c\u0442\u0432\u043d\u0410\u0412\u0415\u0405\u0406\u0408"
        "\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425",
    ),
    **_pairs(  # Greek
        "aiknvopuxytabezhikmnoptyx",
        "\u03b1\u03b9\u03ba\u03b7\u03bd\u03bf\u03c1\u03c5\u03c7\u03b3\u03c4\u0391"
        "\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5"
        "\u03a7",
    ),
    **_pairs("iloodgai", "\u0131\u0142\u00f8\u00d8\u0111\u0261\u0251\u026a"),
    **{  # boxed in four ways, as newer editions know them
        chr(first + nth): letter
        for first in (0x1F110, 0x1F130, 0x1F150, 0x1F170)
        for nth, letter in enumerate(ascii_lowercase)
    },
    **{chr(0x1F1E6 + nth): letter for nth, letter in enumerate(ascii_lowercase)},
}
"""The commonest that look like a letter of ours and are none."""


class _Table(dict[int, str]):
    """What each character folds to, filled as they come."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold_one(chr(code))
        return folded


def _fold_one(character: str) -> str:
    if character in "\t\n\r":
        return character
    if character in _ALIKE:
        return _ALIKE[character]
    category = _UNICODE.category(character)
    if category in _UNSEEN or character in _EMPTY:
        return SEAM
    if category in _BLANK or character == _BRAILLE_BLANK:
        return " "
    parts = _UNICODE.normalize("NFKD", character)
    bare = (_ALIKE.get(p, p) for p in parts if _UNICODE.category(p) not in _UNSEEN)
    folded = _UNICODE.normalize("NFC", "".join(bare).casefold())
    return folded[:EXPANSION_MAX] or SEAM


_TABLE: Final = _Table()


def fold(text: str) -> str:
    """The text in the one spelling. At most `EXPANSION_MAX` times as long; linear."""
    if text.isascii():
        if len(text) <= _SHORT and text.isprintable():  # names, for the most part
            return text.lower()
        return text.translate(_TABLE)
    return _FAR.sub(SEAM, text).translate(_TABLE)


def fold_name(text: str) -> str:
    """`fold` for names that are compared: what nobody sees is left out."""
    return fold(text).replace(SEAM, "")
