"""Text that speaks to the model: signs of injection in what tools answer.

::

    all strings of a result ──fold──▶ one text ──▶ signs, each one linear pattern
      (pictures and sounds aside)

It finds the overt: orders to forget other orders, marks of a chat's own format, orders
to keep the user in the dark, secrets on their way out, commands that fetch and run, and
text that nobody sees. A quiet request for something off-task looks like any other text,
and no scanner can be sure of it: there policy must hold. docs/reference/policy.md says
how often it hits and errs.

Patterns run in the linear-time engine of jsonschema-rs, over the whole answer: there is
no length beyond which it does not look.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Final

import attrs

from enforcement import limits
from enforcement.folding import SEAM, fold
from enforcement.mcp.strictjson import Json

if TYPE_CHECKING:
    import jsonschema_rs

_GAP: Final = r"[\s_*.~-]+"
"""What stands between words; what is no space does for a model, too."""
_SOON: Final = rf"(?:\S+{_GAP}){{0,4}}?"
"""Up to four words between two that matter."""
_ORDERS: Final = (
    r"(?:instruction|prompt|rule|guideline|direction|command|restriction|constraint"
    r"|polic|directive|safeguard|guardrail|context\b)"
)
_SECRETS: Final = (
    r"(?:\.ssh/|id_rsa|id_ed25519|\.aws/|\.env\b|\.netrc|\.git-credentials|\.kube/"
    r"|\.gcloud|/etc/passwd|/etc/shadow|credentials?\b|api[ _-]?keys?\b"
    r"|access[ _-]?tokens?|private[ _-]keys?|passwords?\b|\bsecrets?\b|cookies\b"
    r"|environment variables|(?:conversation|chat) history|system prompt|printenv)"
)
_AWAY: Final = (
    r"(?:\bcurl\s|\bwget\s|\bnc\s|\bsend\s|\bupload\s|\bpost\s+(?:it|them|this|to)\b"
    r"|\bexfiltrat|\bforward\s|\btransmit|\be-?mail\s+(?:it|them|this|to)\b)"
)
_SIGNS: Final = {
    "override": (
        rf"(?:ignor(?:e|ing)|disregard(?:ing)?|forget|overrid(?:e|ing|es)|bypass(?:ing)?"
        rf"|discard){_GAP}{_SOON}(?:previous|prior|above|earlier|preceding|existing|safety"
        rf"|system|security|all|any|other|original|your|everything){_GAP}{_SOON}{_ORDERS}"
        r"|(?:ignore|disregard) the user|forget (?:everything|all) (?:above|before)"
        r"|forget all previous|stop everything|new (?:system )?instructions?\s*:"
    ),
    "role": (
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext)\|>|\[/?inst\]|<</?sys>>"
        r"|</?(?:system|important|hidden|admin|secret)>|\byou are (?:now|no longer) "
        r"|\bfrom now on,? you|\bpretend (?:to be|you are|you're)|developer mode"
        r"|\bdo anything now\b|jailbreak|(?:free|freed|liberated|escape|without)"
        r"(?: \S+){0,3} (?:restrictions|constraints|guidelines|limitations|limits)\b"
    ),
    "secrecy": (
        r"(?:do not|don't|never|without)\s+(?:ever\s+)?(?:tell|mention|inform|reveal|show"
        rf"|disclose|notify|alert|ask|let)(?:ing)?\s+{_SOON}"
        r"(?:user|human|operator|anyone|anybody|them)\b"
        r"|(?:hide|conceal)\s+(?:\S+\s+){0,6}?from\s+(?:the\s+)?(?:user|human|operator)"
    ),
    "exfiltration": (
        rf"{_AWAY}[^\n]{{0,80}}{_SECRETS}[^\n]{{0,80}}(?:https?://|\bto\b|\b@)"
        rf"|{_SECRETS}[^\n]{{0,120}}{_AWAY}[^\n]{{0,60}}(?:https?://|\S\.\S|\bserver\b|/)"
    ),
    "command": (
        r"(?:\bcurl|\bwget)\s[^\n]{0,200}\|\s*(?:sudo\s+)?(?:ba|z)?sh\b|bash -i >&"
        r"|/dev/tcp/|base64\s+(?:-d|--decode)\b[^\n]{0,80}\|\s*(?:ba|z)?sh\b"
        r"|\bnc\s+(?:-\S+\s+)*\S+\s+\d{2,5}\b|169\.254\.169\.254|\brm -rf\s+[/~]"
    ),
}
HIDDEN: Final = "hidden"
_PATTERN_BYTES_MAX: Final = 10_485_760
_UNSEEN: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb\U000e0100-\U000e01ef]"
)
_TAGS: Final = re.compile("[\U000e0020-\U000e007e]")
_TAG_TO_ASCII: Final = {0xE0000 + code: code for code in range(0x20, 0x7F)}
_FLAG: Final = re.compile(
    "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f"
)
"""England's, Scotland's and the like: a black flag and letters that nobody sees."""
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_LABELS: Final = frozenset({"mimeType", "type"})
_MEDIA: Final = ("audio", "image")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/=\r\n]*")


@attrs.define
class Scanner:
    """Looks for signs. One for all gates: patterns are compiled once, at first use.

    Attributes:
        annotates: What is found is told to the agent, too.
    """

    annotates: bool = False

    @cached_property
    def _signs(self) -> "dict[str, jsonschema_rs.Validator]":
        return {name: _compile(pattern) for name, pattern in _SIGNS.items()}

    @cached_property
    def _any(self) -> "jsonschema_rs.Validator":
        return _compile("|".join(_SIGNS.values()))

    def find(self, result: Json) -> tuple[str, ...]:
        """The signs in a tool's result, by name, sorted; none for most."""
        return self.find_in_text("\n".join(texts_of(result)))

    def find_in_text(self, text: str) -> tuple[str, ...]:
        """The signs in one text. Takes time linear in it, about 2 µs for 1 000 letters."""
        folded, hidden = _fold(text)
        if not hidden and not self._any.is_valid(folded):
            return ()
        found = [name for name, sign in self._signs.items() if sign.is_valid(folded)]
        return tuple(sorted([*found, *([HIDDEN] if hidden else [])]))


def _compile(pattern: str) -> "jsonschema_rs.Validator":
    # Only here, since it costs 4 MB: a node without agents has no need of it.
    import jsonschema_rs

    options = jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES_MAX)
    return jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=options)


def _fold(text: str) -> tuple[str, bool]:
    """The text as a model may read it, and whether much of it is not to be seen.

    What nobody sees may divide words or stand within them: both are read.
    """
    folded = fold(_ESCAPES.sub("", text) if "\x1b" in text else text)
    if SEAM not in folded:
        return folded, False
    tags = _TAGS.findall(_FLAG.sub("", text))
    readings = [folded.replace(SEAM, ""), folded.replace(SEAM, " ")]
    if tags:
        readings.append("".join(tags).translate(_TAG_TO_ASCII).lower())
    unseen = len(_UNSEEN.findall(text)) + len(tags)
    return "\n".join(readings), unseen > limits.UNSEEN_MAX


def texts_of(value: Json) -> Iterator[str]:
    """Every string in a result but pictures and sounds; the names of members last.

    So that what is split over blocks stands together.
    """
    labels: dict[str, None] = {}
    yield from _texts(value, labels)
    yield from labels


def _texts(value: Json, labels: dict[str, None]) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, labels)
    elif isinstance(value, dict):
        for key, item in value.items():
            labels[key] = None
            if key in _LABELS and isinstance(item, str):
                labels[item] = None
            elif not _is_media(value, key, item):
                yield from _texts(item, labels)


def _is_media(block: dict[str, Json], key: str, item: Json) -> bool:
    """Whether this is the picture, the sound or the file of a block of content."""
    if key == "data":
        fits = block.get("type") in _MEDIA
    else:
        fits = key == "blob" and "uri" in block
    return fits and isinstance(item, str) and bool(_BASE64.fullmatch(item))
