"""`picket status | reports | report | audit | quarantine`: asking the daemon."""

import json
from datetime import UTC, datetime
from typing import cast

import click

from gossip.errors import UserError
from node.cli.common import config_option, json_option, read_config, say_json, say_table
from node.jsonlines import Json, ask, ask_many
from node.log import printable

Row = dict[str, Json]


@click.command()
@config_option
@json_option
def status(config: str, as_json: bool) -> None:
    """Show this node, its links, and how everybody stands."""
    answer = cast("Row", _ask(config, "status"))
    if as_json:
        say_json(answer)
        return
    members = cast("list[Row]", answer["members"])
    linked = sum(bool(m["linked"]) for m in members)
    listening = ", ".join(map(str, cast("list[Json]", answer["listening"])))
    for key, value in (
        ("node", f"{answer['name']} {str(answer['node'])[:16]}"),
        ("cluster", f"{answer['cluster_name']} {str(answer['cluster'])[:16]}"),
        ("links", f"{linked} of {len(members) - 1}"),
        ("mode", answer["mode"]),
        ("policy", str(answer["policy"])[:16]),
        ("suite by", answer["provider"]),
        ("listening", listening or "-"),
        ("http", answer["http"] or "-"),
        ("metrics", answer["metrics"] or "-"),
    ):
        click.echo(f"{key:<10} {value}")
    rows = [_member_row(m, answer["policy"]) for m in members]
    say_table("members", ["name", "link", "standing", "policy", "servers"], rows)


def _member_row(member: Row, policy: Json) -> list[str]:
    link = "me" if member["me"] else "up" if member["linked"] else "down"
    told = member["policy"]
    same = "-" if told is None else "same" if told == policy else "differs"
    standing = str(member["standing"])
    if member["isolated"] and not member["denied"]:
        standing += " (isolated here)"
    servers = " ".join(map(str, cast("list[Json]", member["servers"])))
    return [str(member["name"]), link, standing, same, servers]


@click.command()
@click.option("--last", default=50, show_default=True, type=click.IntRange(1, 1_000))
@config_option
@json_option
def reports(last: int, config: str, as_json: bool) -> None:
    """Show the latest reports this node admitted, oldest first."""
    rows = cast("list[Row]", _ask(config, "reports", {"last": last}))
    if as_json:
        say_json(cast("Json", rows))
        return
    say_table(
        "reports",
        ["at", "reporter", "about", "category", "severity", "evidence"],
        [
            [
                _time(r["at_ms"]),
                str(r["reporter"]),
                str(r["name"]),
                str(r["category"]),
                str(r["severity"]),
                "proof" if r["proven"] else str(r["class"]),
            ]
            for r in rows
        ],
    )


@click.command()
@click.argument("subject")
@click.option("--category", default="by-hand", show_default=True)
@click.option("--severity", default=5, show_default=True, type=click.IntRange(1, 9))
@config_option
def report(subject: str, category: str, severity: int, config: str) -> None:
    """Say that this node saw SUBJECT misbehave: one voice, no proof."""
    args: Row = {"subject": subject, "category": category, "severity": severity}
    answer = cast("Row", _ask(config, "report", args))
    click.echo(f"reported {answer['subject']}")


@click.command()
@click.option("--last", default=50, show_default=True, type=click.IntRange(1, 1_000))
@config_option
@json_option
def audit(last: int, config: str, as_json: bool) -> None:
    """Show the latest decisions of this node's gates, oldest first."""
    rows = cast("list[Row]", _ask(config, "audit", {"last": last}))
    if as_json:
        say_json(cast("Json", rows))
        return
    say_table(
        "decisions",
        ["at", "verdict", "agent", "server", "method", "tool", "rule", "reason"],
        [
            [
                _time(r["at_ms"]),
                str(r["verdict"]),
                str(r["agent"])[:16],
                str(r["server"]),
                str(r["method"]),
                str(r["tool"]) or "-",
                str(r["rule"]) or "-",
                str(r["reason"]) or "-",
            ]
            for r in rows
        ],
    )


@click.command()
@config_option
@json_option
def watch(config: str, as_json: bool) -> None:
    """Tell each report and each ruling as this node gets there; Ctrl-C ends it."""
    for told in ask_many(read_config(config).control_socket, "watch"):
        line = cast("Row", told)
        if as_json:
            click.echo(json.dumps(line))
        elif line["event"] != "quiet":
            at, event = _time(int(str(line.pop("at_us"))) // 1_000), line.pop("event")
            pairs = " ".join(f"{k}={printable(str(v))}" for k, v in line.items())
            click.echo(f"{at} {event:<11} {pairs}")


@click.group()
def quarantine() -> None:
    """Who is cut off, why, and how to let them go."""


@quarantine.command("list")
@config_option
@json_option
def quarantine_list(config: str, as_json: bool) -> None:
    """List everybody who is not clear."""
    rows = cast("list[Row]", _ask(config, "quarantine.list"))
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
                _time(r["until_ms"]) if r["until_ms"] else "-",
                "yes" if r["enforced"] else "no",
            ]
            for r in rows
        ],
    )


@quarantine.command("why")
@click.argument("subject")
@config_option
@json_option
def quarantine_why(subject: str, config: str, as_json: bool) -> None:
    """Tell who said what about SUBJECT, and what it weighs."""
    answer = cast("Row", _ask(config, "quarantine.why", {"subject": subject}))
    if as_json:
        say_json(answer["facts"])
        return
    for sentence in cast("list[str]", answer["sentences"]):
        click.echo(sentence)


@quarantine.command("release")
@click.argument("subject")
@click.option("--reason", required=True, help="For everybody to read.")
@click.option(
    "--operator-key",
    "keys",
    multiple=True,
    metavar="FILE",
    help="Repeat it until enough operators have signed.",
)
@click.option("--draft", metavar="FILE", help="Write what is signed so far here.")
@config_option
def quarantine_release(
    subject: str, reason: str, keys: tuple[str, ...], draft: str | None, config: str
) -> None:
    """Let SUBJECT go, by as many operators as the founders' file asks for."""
    from node.cli.act import Draft, submit_draft

    if not keys and draft is None:
        raise UserError(
            "give --operator-key FILE, once for each operator, or --draft FILE to let"
            " them sign elsewhere with `picket act sign`"
        )
    answer = cast(
        "Row", _ask(config, "release.draft", {"subject": subject, "reason": reason})
    )
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


def _ask(config: str, do: str, args: Row | None = None) -> Json:
    return ask(read_config(config).control_socket, do, args)


def _time(at_ms: Json) -> str:
    at = datetime.fromtimestamp(int(str(at_ms)) / 1_000, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
