"""The schemas that the conformance suites look for."""

from typing import Final, TypeAlias

Schema: TypeAlias = dict[str, object]


def form(**properties: Schema) -> Schema:
    """A form of these fields."""
    return {"type": "object", "properties": properties, "required": []}


def choice(*names: str) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": [*names]}


def titled(key: str, **names: str) -> Schema:
    """Words with titles, under ``oneOf`` or ``anyOf``."""
    return {key: [{"const": name, "title": title} for name, title in names.items()]}


WORD: Final = form(response={"type": "string", "description": "User's response"})

DEFAULTS: Final = form(
    name={"type": "string", "default": "John Doe"},
    age={"type": "integer", "default": 30},
    score={"type": "number", "default": 95.5},
    status={**choice("active", "inactive", "pending"), "default": "active"},
    verified={"type": "boolean", "default": True},
)

CHOICES: Final = form(
    untitledSingle=choice("option1", "option2", "option3"),
    titledSingle={
        "type": "string",
        **titled("oneOf", value1="First", value2="Second", value3="Third"),
    },
    legacyEnum={
        **choice("opt1", "opt2", "opt3"),
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    untitledMulti={"type": "array", "items": choice("option1", "option2", "option3")},
    titledMulti={
        "type": "array",
        "items": titled("anyOf", value1="First", value2="Second", value3="Third"),
    },
)

_WORD: Final[Schema] = {"type": "string"}

KEYWORDS: Final[Schema] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": _WORD, "city": _WORD},
        }
    },
    "properties": {
        "name": _WORD,
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": choice("phone", "email"),
        "phone": _WORD,
        "email": _WORD,
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {
        "properties": {"contactMethod": {"const": "phone"}},
        "required": ["contactMethod"],
    },
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
