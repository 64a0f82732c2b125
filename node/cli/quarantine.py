"""`picket quarantine`: who is cut off, why, and how to let them go or be."""

from typing import cast

import click

from node.cli.common import (
    ask_node,
    config_option,
    json_option,
    say_json,
    say_table,
)
from node.cli.signing import check_signing, duration_ms, finish_act, signing_options
from node.cli.stamps import show_time
from node.jsonlines import Json

Row = dict[str, Json]


@click.group()
def quarantine() -> None:
    """Who is cut off, why, and how to let them go."""


@quarantine.command("list")
@config_option
@json_option
def quarantine_list(config: str, as_json: bool) -> None:
    """List everybody who is not clear."""
    rows = cast("list[Row]", ask_node(config, "quarantine.list"))
    if as_json:
        say_json(cast("Json", rows))
        return
    if not rows:
        click.echo("everybody is clear")
        return
    say_table(
        "standings",
        ["subject", "name", "standing", "by", "until", "enforced"],
        [
            [
                str(r["subject"]),
                str(r["name"]),
                str(r["standing"]),
                str(r["basis"] or "-"),
                show_time(r["until_ms"]) if r["until_ms"] else "-",
                _enforced(r),
            ]
            for r in rows
        ],
    )


def _enforced(row: Row) -> str:
    if row["enforced"] or not row["held_back"]:
        return "yes" if row["enforced"] else "no"
    until = row["held_back_until_ms"]
    return f"no: {row['held_back']}" + (f", until {show_time(until)}" if until else "")


@quarantine.command("why")
@click.argument("subject")
@config_option
@json_option
def quarantine_why(subject: str, config: str, as_json: bool) -> None:
    """Tell who said what about SUBJECT, and what it weighs."""
    answer = cast("Row", ask_node(config, "quarantine.why", {"subject": subject}))
    if as_json:
        say_json(answer["facts"])
        return
    for sentence in cast("list[str]", answer["sentences"]):
        click.echo(sentence)


@quarantine.command("release")
@click.argument("subject")
@click.option("--reason", required=True, help="For everybody to read.")
@signing_options
@config_option
def quarantine_release(
    subject: str, reason: str, keys: tuple[str, ...], draft: str | None, config: str
) -> None:
    """Let SUBJECT go, by as many operators as the founders' file asks for.

    Run it at a node that others hear: not at one that is cut off.
    """
    check_signing(keys, draft)
    args: Row = {"subject": subject, "reason": reason}
    answer = cast("Row", ask_node(config, "release.draft", args))
    finish_act(answer, keys, draft, config)


@quarantine.command("allow")
@click.argument("subject")
@click.option("--for", "lasts", default="1d", show_default=True)
@click.option("--reason", required=True, help="For everybody to read.")
@signing_options
@config_option
def quarantine_allow(
    subject: str,
    lasts: str,
    reason: str,
    keys: tuple[str, ...],
    draft: str | None,
    config: str,
) -> None:
    """Enforce nothing against SUBJECT for a while, whatever is decided.

    Run it at a node that others hear: not at one that is cut off. To end it early,
    allow SUBJECT again `--for 1s`: what is said last counts.
    """
    check_signing(keys, draft)
    args: Row = {"subject": subject, "for_ms": duration_ms(lasts), "reason": reason}
    finish_act(cast("Row", ask_node(config, "allow.draft", args)), keys, draft, config)
