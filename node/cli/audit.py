"""`picket audit`: what this node's gates decided, and whether that is all of it."""

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
from node.cli.stamps import show_time
from node.jsonlines import Json

Row = dict[str, Json]


@click.command()
@click.option("--last", default=50, show_default=True, type=click.IntRange(1, 1_000))
@click.option("--verify", is_flag=True, help="Hold the trail against signed heads.")
@click.option("--head", help="With --verify: ROW:DIGITS that another node holds.")
@click.option("--heads", is_flag=True, help="Show what all members signed last.")
@config_option
@json_option
def audit(
    last: int, verify: bool, head: str | None, heads: bool, config: str, as_json: bool
) -> None:
    """Show the latest decisions of this node's gates, oldest first.

    The trail is a chain, and each hour the node signs where it stands. Every member
    holds what was signed, so none can rewrite what it decided: with --verify this
    node's trail is held against what it signed itself, with --head also against what
    `picket audit --heads` shows at another node.
    """
    if verify or head:
        _verify(config, head, as_json)
    elif heads:
        _show_heads(config, as_json)
    else:
        _show_rows(config, last, as_json)


def _verify(config: str, head: str | None, as_json: bool) -> None:
    args: Row = {}
    if head is not None:
        seq, colon, chain = head.partition(":")
        if not colon or not seq.isascii() or not seq.isdigit():
            raise UserError(f"--head `{head}` is not ROW:DIGITS")
        args = {"seq": int(seq), "chain": chain}
    told = cast("Row", ask_node(config, "audit.verify", args))
    if as_json:
        say_json(told)
        return
    signed = cast("Row | None", told["signed"])
    upto = f"; signed up to row {signed['seq']}" if signed else "; not signed yet"
    click.echo(
        f"unbroken: {told['rows']} rows after row {told['base']}, up to"
        f" {told['seq']}:{told['chain']}{upto}"
    )


def _show_heads(config: str, as_json: bool) -> None:
    rows = cast("list[Row]", ask_node(config, "audit.heads"))
    if as_json:
        say_json(cast("Json", rows))
        return
    say_table(
        "signed heads",
        ["node", "signed at", "let go up to", "head"],
        [
            [
                str(r["node"]),
                show_time(r["at_ms"]),
                str(r["base"]),
                f"{r['seq']}:{r['chain']}",
            ]
            for r in rows
        ],
    )


def _show_rows(config: str, last: int, as_json: bool) -> None:
    rows = cast("list[Row]", ask_node(config, "audit", {"last": last}))
    if as_json:
        say_json(cast("Json", rows))
        return
    say_table(
        "decisions",
        ["at", "verdict", "agent", "server", "method", "tool", "rule", "reason"],
        [
            [
                show_time(r["at_ms"]),
                str(r["verdict"]),
                _agent(r),
                str(r["server"]),
                str(r["method"]),
                str(r["tool"]) or "-",
                str(r["rule"]) or "-",
                _reason(r),
            ]
            for r in rows
        ],
    )


def _reason(row: Row) -> str:
    count = row.get("count", 1)
    return f"{row['reason'] or '-'}{'' if count == 1 else f' x{count}'}"


def _agent(row: Row) -> str:
    short = str(row["agent"])[:8]
    name = str(row["agent_name"]).removeprefix("agent ")
    return name if name.startswith(short) else f"{name} ({short})"
