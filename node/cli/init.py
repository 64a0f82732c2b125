"""`picket init | renew | operator | founders | agent`: making keys and files."""

import shlex
from pathlib import Path

import click

from enforcement.decide.thresholds import Thresholds
from gossip.errors import UserError
from gossip.membership.founders import ActKind
from gossip.membership.identity import agent_id
from node import birth
from node.cli.common import (
    address_option,
    config_option,
    json_option,
    read_config,
    say_json,
    say_table,
    this_command,
)
from node.clock import SystemClock
from node.config import FILE_NAME, load_config, locate
from node.keys.keystore import Keystore, load_secret
from node.keys.node_keys import agent_secret, renew_node
from node.keys.suites.registry import load_suite
from node.tables import is_name

_GRANTS = ("admin", "agent", "hr", "retail")
_SOLO_ROLES = ("agent",)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What the cluster calls this node.")
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="Where to listen.")
@click.option(
    "--advertise", multiple=True, metavar="HOST:PORT", help="Where peers reach it."
)
@click.option(
    "--grant",
    multiple=True,
    metavar="ROLE",
    help="A role it may grant (default: agent).",
)
@click.option("--server", multiple=True, metavar="NAME", help="A server it provides.")
@click.option("--http", metavar="HOST:PORT", help="Where agents reach MCP servers.")
@click.option("--metrics", metavar="HOST:PORT", help="Where Prometheus scrapes.")
@click.option("--sponsor", metavar="NAME", help="Who brings it in, after the founding.")
@click.option("--solo", is_flag=True, help="A working cluster of one, with an agent.")
def init(
    folder: Path,
    name: str,
    listen: tuple[str, ...],
    advertise: tuple[str, ...],
    grant: tuple[str, ...],
    server: tuple[str, ...],
    http: str | None,
    metrics: str | None,
    sponsor: str | None,
    solo: bool,
) -> None:
    """Make a node in DIR: keys, card.toml, config.toml, a policy to start from."""
    for text in (name, *grant, *server, *filter(None, (sponsor,))):
        _check_name(text)
    if sponsor and (server or solo):
        raise UserError("--sponsor: a newcomer provides no servers, and is not alone")
    suite, now = load_suite(), SystemClock().unix_ms()
    default = () if solo else ("0.0.0.0:7946",)
    new = birth.NewNode(
        name=name,
        listen=tuple(map(address_option, listen or default)),
        advertise=tuple(map(address_option, advertise)),
        grants=grant or (_GRANTS if solo else _SOLO_ROLES),
        servers=server,
        http=address_option(http) if http else None,
        metrics=address_option(metrics) if metrics else None,
        sponsor=sponsor or "",
    )
    node = birth.make_node(folder, new, birth.starter_policy(), suite, now)
    click.echo(f"node {name} {node.hex()}")
    click.echo(
        f"Move {birth.root_path(folder)} to a place that is offline; only `picket"
        " renew` needs it, within 90 days."
    )
    if sponsor:
        click.echo(
            f"Hand {folder / birth.CARD} to {sponsor}, for `picket member admit`, and"
            f" put the cluster's founders.toml into {folder}."
        )
        return
    if not solo:
        click.echo(
            f"Hand {folder / birth.CARD} to whoever runs `picket founders`, and put"
            f" the founders.toml you get back into {folder}."
        )
        return
    key, card = birth.make_operator(folder / "operator", name, suite)
    birth.join_founders(name, [folder / birth.CARD], [card], folder / "founders.toml")
    config = load_config(folder / FILE_NAME)
    token = birth.add_agent(config, "me", _SOLO_ROLES, suite)
    click.echo(f"operator key {key}")
    click.echo(f"agent me, token (shown once): {token}")
    home = shlex.quote(str(folder.absolute()))
    click.echo("For your MCP client, in place of the server's own command:")
    click.echo(f"{this_command()} wrap -c {home} --server NAME -- COMMAND")


@click.command()
@config_option
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="The root key, if it is not in the keystore.",
)
def renew(config: str, root: Path | None) -> None:
    """Let the root key vouch for this node's renewal key for another 90 days."""
    node = read_config(config)
    seed = load_secret(root or birth.root_path(node.state))
    suite = load_suite(node.provider, node.state)
    renew_node(node.state, seed, suite, SystemClock().unix_ms())
    click.echo("renewed for 90 days; the next start of the node uses it")


@click.group()
def operator() -> None:
    """Make operators' keys: whoever holds enough of them may overrule."""


@operator.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The operator's name.")
def operator_init(folder: Path, name: str) -> None:
    """Make an operator's key and card in DIR."""
    _check_name(name)
    key, card = birth.make_operator(folder, name, load_suite())
    click.echo(f"key {key} (keep it offline)")
    click.echo(f"card {card} (hand it to whoever runs `picket founders`)")


@click.command()
@click.argument(
    "cards", metavar="CARD...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--operator",
    "operators",
    metavar="CARD",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="An operator's card; repeat it.",
)
@click.option("--name", required=True, help="The cluster's name.")
@click.option(
    "--quorum",
    "quorums",
    metavar="KIND=K",
    multiple=True,
    help="How many operators a kind of act takes, such as release=3; repeat it.",
)
@click.option(
    "--colluders",
    type=click.IntRange(0),
    help="How many lying nodes to tolerate; by default every third but one.",
)
@click.option(
    "--replicated",
    metavar="SERVER",
    multiple=True,
    help="A server that several nodes provide; repeat it.",
)
@click.option(
    "--output",
    "-o",
    default="founders.toml",
    show_default=True,
    type=click.Path(path_type=Path),
)
def founders(
    cards: tuple[Path, ...],
    operators: tuple[Path, ...],
    name: str,
    quorums: tuple[str, ...],
    colluders: int | None,
    replicated: tuple[str, ...],
    output: Path,
) -> None:
    """Join the nodes' and operators' cards into the file every node holds."""
    _check_name(name)
    quorum = dict(map(_read_quorum, quorums))
    made = birth.join_founders(
        name, cards, operators, output, quorum, colluders, replicated
    )
    click.echo(
        f"{output}: {len(cards)} nodes, {len(operators)} operators, cluster id"
        f" {made.cluster.hex()[:16]}; a release takes {made.quorum[ActKind.RELEASE]}"
    )
    if not Thresholds(members=len(cards)).voices_convict:
        click.echo("fewer than 4 nodes: only a proof convicts, reports cut nobody off")


def _read_quorum(text: str) -> tuple[str, int]:
    kind, _, needed = text.partition("=")
    if kind not in list(ActKind) or not needed.isascii() or not needed.isdigit():
        raise UserError(
            f"--quorum: `{text}` is not KIND=K with a number K; kinds are"
            f" {', '.join(ActKind)}"
        )
    return kind, int(needed)


@click.group()
def agent() -> None:
    """The agents that work beside this node."""


@agent.command("add")
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, help="Repeat it.")
@config_option
def agent_add(name: str, roles: tuple[str, ...], config: str) -> None:
    """Make a key for agent NAME; prints its bearer token once."""
    for text in (name, *roles):
        _check_name(text)
    node = read_config(config)
    click.echo(
        birth.add_agent(node, name, roles, load_suite(node.provider, node.state))
    )
    click.echo(
        f"this token is shown once; `picket reload` or restart the node to admit {name}",
        err=True,
    )
    if not node.founders_file.exists():
        click.echo(
            f"checked by this node's card only: {node.founders_file}, which is not there"
            " yet, must grant the same, or `picket run` refuses it",
            err=True,
        )


@agent.command("list")
@config_option
@json_option
def agent_list(config: str, as_json: bool) -> None:
    """List the agents of the configuration, with the ids all nodes know them by."""
    node = load_config(locate(config))
    suite, keys = load_suite(node.provider, node.state), Keystore(node.keys)
    ids = {
        name: agent_id(
            suite.signing_key_from_seed(keys.load(agent_secret(name))).public_key
        )
        for name in node.agents
    }
    agents = node.agents.values()
    if as_json:
        say_json(
            [
                {"name": a.name, "roles": [*a.roles], "id": ids[a.name].hex()}
                for a in agents
            ]
        )
        return
    rows = [[a.name, " ".join(a.roles), f"agent:{ids[a.name].hex()}"] for a in agents]
    say_table("agents", ["name", "roles", "id"], rows)


def _check_name(text: str) -> None:
    if not is_name(text):
        raise UserError(f"`{text}` must be 1 to 64 of a-z, 0-9, `-_.`")
