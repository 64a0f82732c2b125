"""`picket member`: who is in, and bringing in who was not there at the founding."""

from pathlib import Path
from typing import cast

import click

from node.cli.common import (
    ask_node,
    config_option,
    json_option,
    say_json,
    say_table,
)
from node.cli.signing import check_signing, finish_act, signing_options
from node.cli.stamps import show_time
from node.config import read_text
from node.jsonlines import Json

Row = dict[str, Json]


@click.group()
def member() -> None:
    """Members: who is in, who waits, and bringing in newcomers."""


@member.command("list")
@config_option
@json_option
def member_list(config: str, as_json: bool) -> None:
    """Show the members, and whom too few endorsed so far."""
    rows = cast("list[Row]", ask_node(config, "member.list"))
    if as_json:
        say_json(cast("Json", rows))
        return
    say_table(
        "members",
        ["name", "node", "state", "sponsor", "since", "own voice", "weight"],
        [
            [
                str(r["name"]),
                str(r["node"])[:16],
                _state(r),
                str(r["sponsor"] or "-"),
                show_time(r["joined_ms"]) if r["joined_ms"] else "-",
                "yes" if r["confirmed_ms"] or r["state"] == "founder" else "no",
                f"{cast('float', r['weight']):.2f}",
            ]
            for r in rows
        ],
    )


def _state(row: Row) -> str:
    endorsers = cast("list[str] | None", row["endorsers"])
    if endorsers is None:
        return str(row["state"])
    return f"endorsed by {', '.join(endorsers)}: {len(endorsers)} of {row['needed']}"


@member.command("admit")
@click.argument("card", metavar="CARD")
@config_option
def member_admit(card: str, config: str) -> None:
    """Sponsor the node whose card.toml is CARD; you answer for it."""
    text = read_text(Path(card), "the card")
    _say(cast("Row", ask_node(config, "member.admit", {"card": text})))


@member.command("endorse")
@click.argument("name", metavar="NAME|ID")
@click.option("--sponsor", default="", help="Whose card, where several wait.")
@config_option
def member_endorse(name: str, sponsor: str, config: str) -> None:
    """Endorse NAME, whom another member sponsors."""
    args: Row = {"name": name, "sponsor": sponsor}
    _say(cast("Row", ask_node(config, "member.endorse", args)))


def _say(answer: Row) -> None:
    if answer["is_member"]:
        click.echo(f"{answer['name']} is a member, sponsored by {answer['sponsor']}")
        return
    click.echo(
        f"{answer['name']}, sponsored by {answer['sponsor']}, is endorsed by"
        f" {answer['endorsed']} of {answer['needed']}; let others run `picket member endorse {answer['name']}`"
    )


@member.command("confirm")
@click.argument("name")
@click.option("--reason", required=True, help="For everybody to read.")
@signing_options
@config_option
def member_confirm(
    name: str, reason: str, keys: tuple[str, ...], draft: str | None, config: str
) -> None:
    """Give newcomer NAME a voice of its own; until then it shares its sponsor's."""
    check_signing(keys, draft)
    args: Row = {"name": name, "reason": reason}
    answer = cast("Row", ask_node(config, "member.confirm.draft", args))
    finish_act(answer, keys, draft, config)
