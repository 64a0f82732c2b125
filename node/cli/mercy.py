"""`picket stand-down | false-positive | appeal | observe`: going easy, on purpose."""

from pathlib import Path
from typing import cast

import click

from gossip.errors import UserError
from node.cli.common import (
    ask_node,
    config_option,
    json_option,
    say_json,
    say_table,
)
from node.cli.signing import check_signing, duration_ms, finish_act, signing_options
from node.cli.stamps import show_time
from node.config import read_text
from node.jsonlines import Json
from node.keys.keystore import replace_file
from node.log import printable

Row = dict[str, Json]


@click.command("stand-down")
@click.option("--for", "lasts", default="1h", show_default=True)
@click.option("--reason", required=True, help="For everybody to read.")
@signing_options
@config_option
def stand_down(
    lasts: str, reason: str, keys: tuple[str, ...], draft: str | None, config: str
) -> None:
    """Suspend automatic quarantine in the whole cluster, for a day at most.

    To end it early say it again `--for 1s`: what is said last counts.
    """
    check_signing(keys, draft)
    args: Row = {"for_ms": duration_ms(lasts, days_max=1), "reason": reason}
    finish_act(
        cast("Row", ask_node(config, "stand-down.draft", args)), keys, draft, config
    )


@click.command("false-positive")
@click.argument("report", metavar="REPORT_ID")
@click.option("--owner", required=True, help="Who answers for the exception.")
@click.option("--for", "lasts", default="7d", show_default=True)
@click.option("--reason", required=True, help="For everybody to read.")
@signing_options
@config_option
def false_positive(
    report: str,
    owner: str,
    lasts: str,
    reason: str,
    keys: tuple[str, ...],
    draft: str | None,
    config: str,
) -> None:
    """Strike a report from the record, and let the like of it pass for a while.

    This node's own reports are taken back at once; the exception, and what other
    nodes reported, needs operators.
    """
    check_signing(keys, draft)
    args: Row = {
        "report": report,
        "owner": owner,
        "for_ms": duration_ms(lasts),
        "reason": reason,
    }
    answer = cast("Row", ask_node(config, "false-positive", args))
    if answer["retracted"]:
        click.echo("this node took its report back")
    finish_act(answer, keys, draft, config)


@click.group()
def appeal() -> None:
    """Ask for another look at a quarantine, and answer those who ask."""


@appeal.command("send")
@click.argument("text")
@click.option("--about", default="", help="An agent beside this node; else the node.")
@click.option("-o", "--output", metavar="FILE", help="Also write it for a carrier.")
@config_option
def appeal_send(text: str, about: str, output: str | None, config: str) -> None:
    """Appeal with TEXT, once in five minutes; any member can carry FILE."""
    args: Row = {"subject": about, "text": text}
    answer = cast("Row", ask_node(config, "appeal.send", args))
    if output is not None:
        replace_file(Path(output), f"{answer['appeal']}\n".encode())
    linked = int(str(answer["linked"]))
    click.echo(f"said to {linked} linked nodes" if linked else "no node is linked")
    if not linked and output is None:
        raise UserError(
            "nobody heard it: write it with --output FILE and have any member run"
            " `picket appeal carry FILE`"
        )


@appeal.command("carry")
@click.argument("file", metavar="FILE")
@config_option
def appeal_carry(file: str, config: str) -> None:
    """Bring the appeal of a node that is linked with nobody."""
    text = read_text(Path(file), "the appeal").strip()
    answer = cast("Row", ask_node(config, "appeal.carry", {"appeal": text}))
    click.echo(f"carried the appeal of {answer['node']}")


@appeal.command("list")
@config_option
@json_option
def appeal_list(config: str, as_json: bool) -> None:
    """Show the appeals of the last day, and what was answered."""
    rows = cast("list[Row]", ask_node(config, "appeal.list"))
    if as_json:
        say_json(cast("Json", rows))
        return
    say_table(
        "appeals",
        ["id", "at", "node", "about", "answers", "text"],
        [
            [
                str(r["id"])[:12],
                show_time(r["at_ms"]),
                str(r["node"]),
                str(r["name"]),
                " ".join(
                    f"{a['by']}:{a['answer']}" for a in cast("list[Row]", r["answers"])
                )
                or "-",
                printable(str(r["text"])),
            ]
            for r in rows
        ],
    )


@appeal.command("answer")
@click.argument("appeal_id")
@click.option("--withdraw/--uphold", "withdraw", required=True, default=None)
@click.option("--reason", default="", help="For everybody to read.")
@config_option
def appeal_answer(appeal_id: str, withdraw: bool, reason: str, config: str) -> None:
    """Take back what this node said about the appellant, or uphold it."""
    word = "withdraw" if withdraw else "uphold"
    args: Row = {"appeal": appeal_id, "answer": word, "reason": reason}
    answer = cast("Row", ask_node(config, "appeal.answer", args))
    told = f"{answer['withdrawn']} reports taken back" if withdraw else "upheld"
    click.echo(f"{answer['subject']}: {told}")


@click.group()
def observe() -> None:
    """What observe mode let be."""


@observe.command("report")
@config_option
@json_option
def observe_report(config: str, as_json: bool) -> None:
    """Show what would have been denied or cut off, by rule and by whom."""
    answer = cast("Row", ask_node(config, "observe.report"))
    if as_json:
        say_json(answer)
        return
    modes = cast("Row", answer["modes"])
    click.echo("  ".join(f"{what}: {mode}" for what, mode in modes.items()))
    rows = cast("list[Row]", answer["observed"])
    say_table(
        "would have been",
        ["what", "rule", "whom", "times", "last"],
        [
            [
                str(r["what"]),
                str(r["rule"]) or "-",
                str(r["whom"]),
                str(r["count"]),
                show_time(r["last_ms"]),
            ]
            for r in rows
        ],
    )
