"""What an agent says after its call: judged as if the call had said it.

A server may ask back, for words of the person or of the model, and what it is told
then steers the call as any parameter does. So each answer, and all of them together,
is laid over the call's parameters, and the rules of that call must allow the whole.
"""

from collections.abc import Iterator
from typing import Final

import attrs

from enforcement.defend.policy import Call
from enforcement.mcp.jsonrpc import Reason
from enforcement.mcp.strictjson import Json
from enforcement.post import DeniedError

ANSWERS_MAX: Final = 16
"""Answers in one request; each costs a decision."""


def answers_of(params: dict[str, Json] | None) -> dict[str, Json]:
    """The answers that a request brings, by the names of the questions.

    Raises:
        DeniedError: more than may be judged.
    """
    answers = (params or {}).get("inputResponses")
    if not isinstance(answers, dict):
        return {}
    if len(answers) > ANSWERS_MAX:
        sentence = f"a request answers at most {ANSWERS_MAX} questions"
        raise DeniedError(Reason.TOO_MANY_VALUES, sentence)
    return answers


def overlaid(call: Call, answers: dict[str, Json]) -> Iterator[Call]:
    """The call with each answer laid over its parameters, then with all of them."""
    whole: dict[str, Json] = {}
    for name, answer in answers.items():
        said = _content(name, answer)
        whole = {**whole, **said}
        yield _with(call, said)
    if len(answers) > 1:
        yield _with(call, whole)


def _content(name: str, answer: Json) -> dict[str, Json]:
    """The fields of a form that was filled in, or what else was said."""
    content = answer.get("content") if isinstance(answer, dict) else None
    return content if isinstance(content, dict) else {name: answer}


def _with(call: Call, said: dict[str, Json]) -> Call:
    params = call.params or {}
    if call.method != "tools/call":
        return attrs.evolve(call, params={**params, **said})
    given = params.get("arguments")
    given = given if isinstance(given, dict) else {}
    return attrs.evolve(call, params={**params, "arguments": {**given, **said}})
