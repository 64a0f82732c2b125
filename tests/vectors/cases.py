"""One vector, one check: a name, and a function that says whether it holds."""

from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, TypeAlias

import attrs

from tests.vectors.backends import Backend, NotExpressible, Refused

P = ParamSpec("P")
Check: TypeAlias = Callable[[Backend], bool]


@attrs.frozen
class Case:
    """A check, true where the provider does what the vector says."""

    name: str
    check: Check


Cases: TypeAlias = Iterator[Case]


def case(
    name: str,
    function: Callable[Concatenate[Backend, P], bool],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Case:
    """A check that calls ``function`` on the provider and these arguments."""

    def check(backend: Backend) -> bool:
        return function(backend, *args, **kwargs)

    return Case(name, check)


def elsewhere(name: str) -> Case:
    """A vector of another parameter set: counted, with that as its reason."""

    def check(_: Backend) -> bool:
        raise NotExpressible("of an algorithm that is not in suite 1")

    return Case(name, check)


def unreadable(name: str, error: Exception) -> Case:
    """What should be a vector and is none: a failure, told beside the others."""

    def check(_: Backend) -> bool:
        raise ValueError(f"no test vector: {error}")

    return Case(name, check)


def collected(cases: Cases) -> list[Case]:
    """All of them; where one cannot be read, a failure in place of the rest."""
    found: list[Case] = []
    try:
        found.extend(cases)
    except Exception as error:
        found.append(unreadable("the rest of the file", error))
    return found


def refuses(attempt: Callable[[], object]) -> bool:
    """Whether the provider refuses what a vector calls invalid."""
    try:
        return attempt() is False
    except Refused:
        return True
