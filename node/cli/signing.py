"""How operators' acts are signed: at one desk with --operator-key, or at several.

At several desks it is --draft and `picket act sign`.
"""

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar, cast

import click

from gossip.errors import UserError
from node.jsonlines import Json

P = ParamSpec("P")
R = TypeVar("R")
Row = dict[str, Json]
_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DIGITS_MAX: Final = 9


def duration_ms(text: str, days_max: int = 365) -> int:
    """``1s``, ``90m``, ``1h`` or ``7d`` in milliseconds.

    Raises:
        UserError: it is none of these, nothing, or longer than ``days_max``.
    """
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit()) or unit not in _UNITS:
        raise UserError(f"--for: `{text}` is no duration such as 90m, 1h or 7d")
    lasts_ms = int(number[:_DIGITS_MAX]) * _UNITS[unit]
    if len(number) > _DIGITS_MAX or not 0 < lasts_ms <= days_max * _UNITS["d"]:
        longest = "a day" if days_max == 1 else f"{days_max} days"
        raise UserError(f"--for: `{text}` must be more than nothing, {longest} at most")
    return lasts_ms


def signing_options(command: Callable[P, R]) -> Callable[P, R]:
    """--operator-key and --draft, as every operators' act has them."""
    command = click.option(
        "--draft", metavar="FILE", help="Write what is signed so far here."
    )(command)
    return click.option(
        "--operator-key",
        "keys",
        multiple=True,
        metavar="FILE",
        help="Repeat it until enough operators have signed.",
    )(command)


def check_signing(keys: tuple[str, ...], draft: str | None) -> None:
    """Check before anything is asked that somebody will sign.

    Raises:
        UserError: neither a key nor a draft is given.
    """
    if not keys and draft is None:
        raise UserError(
            "give --operator-key FILE, once for each operator, or --draft FILE to let"
            " them sign elsewhere with `picket act sign`"
        )


def finish_act(
    answer: Row, keys: tuple[str, ...], draft: str | None, config: str
) -> None:
    """Sign what the daemon drafted; submit it, or write it for the next operator.

    Raises:
        UserError: a key is missing or wrong, or too few signed.
        click.UsageError: this is not the node to run it at.
    """
    from node.cli.act import Draft, submit_draft

    if "elsewhere" in answer:
        raise click.UsageError(str(answer["elsewhere"]))
    signed = Draft(bytes.fromhex(str(answer["draft"])), {})
    for key in keys:
        signed = signed.signed_by(key)
    needed = int(str(answer["needed"]))
    if draft is not None and len(signed.signatures) < needed:
        signed.write(draft)
        click.echo(f"{draft}: {len(signed.signatures)} of {needed} signatures")
        return
    submit_draft(signed, config)
    click.echo(str(answer["sentence"]))
    for note in cast("list[str]", answer.get("notes", [])):
        click.echo(note)
