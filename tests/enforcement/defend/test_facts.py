"""The promises of ``enforcement.defend.facts``: what a rule is shown."""

import contextlib
import hashlib
import re
import time
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement import folding, limits
from enforcement.defend import facts
from enforcement.defend.facts import Read, Root, UnreadableError, build_context, words
from enforcement.mcp.strictjson import Json


def read(path: str, root: Root = "params", *, whole: bool = True) -> Read:
    return Read(root, tuple(path.split(".")) if path else (), whole)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM Financial_Ledger",
        'select*from"financial_ledger"',
        "main.[financial_ledger];",
        "x/**/financial_ledger/**/y",
        "\uff26\uff49nancial_ledger",
        "financial\u200b_ledger",
        "financial\u00ad_ledger",
        "fi\u0301nancial_ledger".replace("\u0301", "\u034f"),
        "financial%5Fledger",
        "financial%255fledger",
        'U&"financial\\005fledger"',
        "financial\\u005fledger",
        "financial\\x5Fledger",
        "financial&#95;ledger",
        "'financial' || '_ledger'",
        "'financial' '_ledger'",
        '"financial" + "_ledger"',
        "financial/* x */_ledger",
        "financial\u017f financial_\u2113edger",
    ],
)
def test_a_word_cannot_hide(text: str) -> None:
    assert "financial_ledger" in words(text)


def test_every_edition_of_unicode_reads_alike() -> None:
    """What newer editions fold to letters, or hide, only separates words here."""
    assert words("a\U0001f680b") == words("a\U0001fae8b") == {"a", "b", "ab"}
    assert words("dr\u2066op") >= {"drop"}


def test_every_version_of_python_reads_alike() -> None:
    """The digest is the same on CPython 3.11 to 3.13; a difference convicts."""
    said = hashlib.sha256()
    for code in range(0, 0x110000, 37):
        if not 0xD800 <= code < 0xE000:
            found = words(f"a{chr(code)}b{chr(code)}")
            said.update(repr(sorted(found)).encode())
    assert said.hexdigest() == (
        "badf193d2cae781f896810528794510231aa9c738fafb0181fab257bcca82ff1"
    )


@given(
    st.text(st.characters(max_codepoint=127), max_size=40)
    | st.text(st.sampled_from("dropDROP_19 ._:;,'\"`|+-#*/%&\\xu{}56f\n\t\x1c\x7f"))
)
def test_plain_text_has_the_same_words_however_it_is_searched(text: str) -> None:
    plain = words(text)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(facts, "_ODD", re.compile(""))  # everything is odd
        assert words(text) == plain


@pytest.mark.parametrize(
    "text",
    [
        "drop\u00e9",
        "\u0434\u0440\u043e\u043f drop",
        "dr\u00f2p",
        "dro\u0300p",
        "dr\u043e\u0440",
        "\U0001f133\U0001f181\U0001f15e\U0001f175\u200d drop",
        "dr\x00op",
        "dr\x08op",
        "dr\u0301\u0316op",
        "dr&#x200b;op",
        "dr\ufdfaop drop",
    ],
)
def test_marks_and_look_alikes_hide_no_word(text: str) -> None:
    assert "drop" in words(text)


def test_no_run_of_marks_is_ever_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorting such a run is quadratic: one call's arguments held a daemon for long."""
    longest = 0
    real = folding._UNICODE

    class Counting:
        category = staticmethod(real.category)

        @staticmethod
        def normalize(form: Literal["NFC", "NFKD"], text: str) -> str:
            nonlocal longest
            longest = max(longest, len(text))
            return real.normalize(form, text)

    monkeypatch.setattr(folding, "_UNICODE", Counting)
    monkeypatch.setattr(folding, "_TABLE", folding._Table())
    assert words("\u00e9a" + "\u0301\u0316" * 32_000) >= {"a", "ea"}
    assert words("&#769;&#790;" * 5_000 + "a") >= {"a"}
    assert 0 < longest <= 18


def test_words_are_not_found_where_they_are_not() -> None:
    assert "ledger" not in words("financial_ledger")
    assert words("") == set()
    assert words("it's 5 o'clock") >= {"it", "s", "5", "clock"}


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_bounded_word_is_found_whatever_stands_around_it(a: str, b: str) -> None:
    assert "system_config" in words(f"{a} SYSTEM_config {b}")


def test_no_text_takes_long() -> None:
    size = limits.FACT_TEXT_CHARS_MAX
    for piece in (
        "/*",
        "'",
        " ",
        "%25",
        "&amp;",
        "\\",
        "--",
        "|| ",
        "a ",
        "\u200b",
        "&",
    ):
        begun = time.perf_counter()
        with contextlib.suppress(UnreadableError):
            words((piece * size)[:size])
        assert time.perf_counter() - begun < 0.5


def test_text_in_a_list_is_bounded_too() -> None:
    long: list[Json] = ["x" * limits.FACT_TEXT_CHARS_MAX] * 5
    many: list[Json] = [str(n) for n in range(limits.FACT_VALUES_MAX)]
    mixed: list[Json] = [" ".join(f"{a}{b}" for b in many) for a in "ab"]
    for items in (long, many, mixed):
        with pytest.raises(UnreadableError):
            build_context({"l": items}, [read("l", "words")])
    with pytest.raises(UnreadableError):
        words("\ufdfa" * limits.FACT_TEXT_CHARS_MAX)


VIEW: dict[str, Json] = {
    "n": 5,
    "d": Decimal("12.50"),
    "t": "Drop It",
    "none": None,
    "o": {"a": {"b": 1, "c": 2}, "s": "X y"},
    "l": [1, None, "Two", {"k": "Three"}],
}


def test_only_what_is_read_is_shown() -> None:
    shown = build_context(VIEW, [read("o.a.b"), read("t", "words")])
    assert shown == {
        "params": {"o": {"a": {"b": 1}}},
        "words": {"t": ["drop", "it"]},
    }


def test_presence_is_shown_without_the_value() -> None:
    reads = [read(p, whole=False) for p in ("t", "o", "l", "none", "missing")]
    assert build_context(VIEW, reads)["params"] == {"t": True, "o": {}, "l": []}


def test_values_and_words_have_one_shape() -> None:
    assert build_context(VIEW, [read(""), read("", "words")]) == {
        "params": {
            "n": 5,
            "d": {"__extn": {"fn": "decimal", "arg": "12.5000"}},
            "t": "Drop It",
            "o": {"a": {"b": 1, "c": 2}, "s": "X y"},
            "l": [1, "Two", {"k": "Three"}],
        },
        "words": {
            "n": ["5"],
            "d": ["12.50"],
            "t": ["drop", "it"],
            "o": {"a": {"b": ["1"], "c": ["2"]}, "s": ["x", "y"]},
            "l": ["1", "three", "two"],
        },
    }


def test_a_scalar_where_an_object_is_read_is_shown_as_it_is() -> None:
    assert build_context(VIEW, [read("n.x")])["params"] == {"n": 5}
    assert build_context(VIEW, [read("none.x")])["params"] == {}
    assert build_context(None, [read("none.x")])["params"] == {}


@pytest.mark.parametrize(
    "value",
    [
        Decimal("0.00001"),
        Decimal("922337203685477.5808"),
        Decimal("1.00000000000000000000000000000000001"),
        2**53,
        "x" * (limits.FACT_TEXT_CHARS_MAX + 1),
        [0] * (limits.FACT_VALUES_MAX + 1),
        ["x" * limits.FACT_TEXT_CHARS_MAX] * 5,
        {"__extn": {"fn": "ip", "arg": "x"}},
        {"a": {"__entity": {"type": "Role", "id": "admin"}}},
    ],
)
def test_what_has_no_exact_form_denies_only_if_it_is_read(value: Json) -> None:
    view: dict[str, Json] = {"v": value, "w": 1}
    assert build_context(view, [read("w")])["params"] == {"w": 1}
    assert "v" in str(build_context(view, [read("v", whole=False)]))
    with pytest.raises(UnreadableError):
        build_context(view, [read("v")])


@pytest.mark.parametrize("alias", ["Query", "QUERY", "\uff51uery"])
def test_a_key_in_another_spelling_is_not_overlooked(alias: str) -> None:
    """Some servers match members without regard to case."""
    view: dict[str, Json] = {alias: "drop"}
    with pytest.raises(UnreadableError, match="taken for"):
        build_context(view, [read("query", whole=False)])
