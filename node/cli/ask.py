"""`picket status | reports | report | watch`: asking the daemon."""

import json
from typing import cast

import click

from gossip.clocks import tell_offset
from node.cli.common import (
    ask_node,
    config_option,
    json_option,
    read_config,
    say_json,
    say_table,
)
from node.cli.stamps import show_time
from node.jsonlines import Json, ask_many
from node.log import printable

Row = dict[str, Json]


@click.command()
@click.option("--check", is_flag=True, help="Exit 1 if anything needs attention.")
@config_option
@json_option
def status(check: bool, config: str, as_json: bool) -> None:
    """Say whether the cluster is safe right now; show links and how everybody stands.

    With --check the exit code says it too: 1 if anything needs attention.
    """
    answer = cast("Row", ask_node(config, "status"))
    if as_json:
        say_json(answer)
    else:
        _show_status(answer)
    if check and answer["attention"]:
        raise SystemExit(1)


def _show_status(answer: Row) -> None:
    members = cast("list[Row]", answer["members"])
    linked = sum(bool(m["linked"]) for m in members)
    concerns = "; ".join(map(str, cast("list[Json]", answer["attention"])))
    links = f"{linked} of {len(members) - 1}"
    alone = len(members) == 1
    well = f"safe: {'' if alone else f'{links} linked, '}nobody cut off"
    click.echo(printable(f"attention: {concerns}" if concerns else well))
    counted = cast("Row", answer["standings"])
    listening = ", ".join(map(str, cast("list[Json]", answer["listening"])))
    for key, value in (
        ("node", f"{answer['name']} {str(answer['node'])[:16]}"),
        ("cluster", f"{answer['cluster_name']} {str(answer['cluster'])[:16]}"),
        ("links", links),
        ("standings", ", ".join(f"{n} {level}" for level, n in counted.items())),
        ("mode", _mode(answer)),
        ("policy", _policy(answer)),
        ("suite by", answer["provider"]),
        ("clock", _clock(answer["clock_offset_ms"])),
        ("listening", listening or "-"),
        ("http", answer["http"] or "-"),
        ("metrics", answer["metrics"] or "-"),
    ):
        click.echo(f"{key:<10} {value}")
    local = ", ".join(map(str, cast("list[Json]", answer["local_servers"])))
    if local:
        click.echo(f"only here  {local}: not in the founders' file, for agents here")
    rows = [_member_row(m, answer["policy"]) for m in members]
    say_table("members", ["name", "link", "standing", "policy", "servers"], rows)


def _mode(answer: Row) -> str:
    gates = "only observe" if answer["gates"] == "observe" else "deny"
    if answer["mode"] == "enforce":
        told = f"enforce: gates {gates}, quarantines cut off"
    else:
        told = f"observe: gates {gates}; quarantines by voices are only shown"
        if answer["enforces_from_ms"]:
            told += f", until {show_time(answer['enforces_from_ms'])}"
    if answer["stands_down_until_ms"]:
        told += f", stood down until {show_time(answer['stands_down_until_ms'])}"
    if answer["observed"]:
        told += f"; {answer['observed']} let be, see `picket observe report`"
    return told


def _clock(offset_ms: Json) -> str:
    return tell_offset(offset_ms) if isinstance(offset_ms, int) else "-"


def _policy(answer: Row) -> str:
    digest, folder = str(answer["policy"])[:16], answer["policy_folder"]
    if not answer["policy_version"]:
        return f"{digest}, from {folder}"
    by = ", ".join(map(str, cast("list[Json]", answer["policy_signers"])))
    return f"{digest}, pushed by operators ({by}); {folder} is not read"


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
    rows = cast("list[Row]", ask_node(config, "reports", {"last": last}))
    if as_json:
        say_json(cast("Json", rows))
        return
    say_table(
        "reports",
        ["id", "at", "reporter", "about", "category", "severity", "evidence"],
        [
            [
                str(r["id"])[:12],
                show_time(r["at_ms"]),
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
    answer = cast("Row", ask_node(config, "report", args))
    note = f"; {answer['note']}" if answer["note"] else ""
    click.echo(f"reported {answer['subject']}{note}")


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
            at, event = (
                show_time(int(str(line.pop("at_us"))) // 1_000),
                line.pop("event"),
            )
            pairs = " ".join(f"{k}={printable(str(v))}" for k, v in line.items())
            click.echo(f"{at} {event:<11} {pairs}")
