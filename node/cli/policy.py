"""`picket policy`: look at policies without a running node."""

from pathlib import Path

import click

from node.cli.common import config_option, json_option, read_config, say_json, say_table
from node.guard import read_policy


@click.group()
def policy() -> None:
    """The Cedar policies this node enforces."""


@policy.command("check")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@config_option
@json_option
def policy_check(folder: Path | None, config: str, as_json: bool) -> None:
    """Load FOLDER, or the node's own policy, and list its rules."""
    loaded = read_policy(folder or read_config(config).policy)
    rules = sorted(loaded.rules.values(), key=lambda rule: rule.id)
    if as_json:
        say_json(
            {
                "digest": loaded.digest.hex(),
                "rules": [
                    {"id": r.id, "severity": r.severity, "hostile": r.hostile}
                    for r in rules
                ],
            }
        )
        return
    click.echo(f"{len(rules)} rules, digest {loaded.digest.hex()[:16]}")
    say_table(
        "rules",
        ["rule", "effect", "severity", "file"],
        [
            [r.id, "forbid" if r.forbids else "permit", str(r.severity), r.file]
            for r in rules
        ],
    )
