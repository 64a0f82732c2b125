"""`picket policy`: check, test and explain policies; try, sign and fetch them."""

from pathlib import Path
from typing import cast

import click

from enforcement.defend.policy import Policy
from enforcement.defend.slips import find_slips
from gossip.errors import UserError
from node.birth import starter_policy
from node.cli.common import (
    ask_node,
    config_option,
    json_option,
    read_config,
    say_json,
    say_table,
)
from node.cli.signing import check_signing, finish_act, signing_options
from node.config import load_founders, locate
from node.guard import policy_files, read_policy
from node.jsonlines import Json
from node.keys.keystore import replace_file
from node.rehearsal import Case, differences, draft, read_cases


@click.group()
def policy() -> None:
    """The Cedar policies this node enforces."""


@policy.command("check")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--tools", is_flag=True, help="Also against the running node's tools.")
@config_option
@json_option
def policy_check(folder: Path | None, tools: bool, config: str, as_json: bool) -> None:
    """Load FOLDER, or the node's own policy, and list its rules."""
    loaded = _policy(folder, config)
    pushed = "" if folder else _pushed(config)
    if pushed:
        click.echo(pushed, err=True)
    for slip in _slips(loaded, config):
        click.echo(slip, err=True)
    if tools:
        files = dict(policy_files(folder or read_config(config).policy))
        asked = cast("dict[str, Json]", {"files": files})
        rows = cast("list[dict[str, str]]", ask_node(config, "policy.check", asked))
        for row in rows:
            click.echo(
                f"rule `{row['rule']}` reads `{row['parameter']}`, which no pinned tool"
                " in its scope declares",
                err=True,
            )
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


@policy.command("test")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--policy", "folder", type=click.Path(path_type=Path))
@config_option
@json_option
def policy_test(file: Path, folder: Path | None, config: str, as_json: bool) -> None:
    """Judge the cases in FILE; exit 1 if one is decided otherwise than expected."""
    loaded = _policy(folder, config)
    cases = read_cases(file)
    failed = [(c.name, why) for c in cases if (why := c.fault(loaded.decide(c.call)))]
    if as_json:
        said: list[Json] = [{"case": name, "fault": why} for name, why in failed]
        say_json({"cases": len(cases), "failed": said})
    else:
        for name, why in failed:
            click.echo(f"{name}: {why}")
        click.echo(f"{len(cases) - len(failed)} of {len(cases)} cases as expected")
    if failed:
        raise SystemExit(1)


@policy.command("explain")
@click.argument("file", type=click.Path(path_type=Path), metavar="CALL.json")
@click.option("--policy", "folder", type=click.Path(path_type=Path))
@config_option
@json_option
def policy_explain(file: Path, folder: Path | None, config: str, as_json: bool) -> None:
    """Tell how the call in CALL.json is decided, and by which rules."""
    loaded = _policy(folder, config)
    told = [_explain(loaded, case) for case in read_cases(file)]
    if as_json:
        say_json(cast("list[Json]", told))
        return
    for each in told:
        click.echo(f"{each['decision']}: {each['sentence']}")
        rules = cast("list[dict[str, str]]", each["rules"])
        say_table(
            "rules that could apply",
            ["rule", "effect", "answer", "file"],
            [[r["id"], r["effect"], r["answer"], r["file"]] for r in rules],
        )


def _explain(loaded: Policy, case: Case) -> dict[str, Json]:
    decision = loaded.decide(case.call)
    rules: list[Json] = [
        {
            "id": rule.id,
            "effect": "forbid" if rule.forbids else "permit",
            "answer": answer,
            "file": rule.file,
        }
        for rule, answer in loaded.explain(case.call)
    ]
    return {
        "decision": "allow" if decision.allow else "deny",
        "sentence": decision.sentence or "a permit covers the call, no forbid does",
        "reason": decision.reason.value,
        "rule": decision.rule,
        "severity": decision.severity,
        "hostile": decision.hostile,
        "advice": decision.advice,
        "rules": rules,
    }


@policy.command("diff")
@click.argument("new", type=click.Path(path_type=Path))
@click.argument("old", required=False, type=click.Path(path_type=Path))
@config_option
@json_option
def policy_diff(new: Path, old: Path | None, config: str, as_json: bool) -> None:
    """Tell which rules of NEW are other than in OLD, or in the node's policy."""
    found = differences(_policy(old, config), read_policy(new))
    if as_json:
        say_json([{"what": w, "rule": r, "effect": e} for w, r, e in found])
        return
    say_table("differences", ["what", "rule", "effect"], [[*row] for row in found])


@policy.command("trial")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--end", is_flag=True, help="End the trial that runs.")
@config_option
@json_option
def policy_trial(folder: Path | None, end: bool, config: str, as_json: bool) -> None:
    """Try FOLDER beside the live policy, enforcing nothing; or show the counts."""
    args: dict[str, Json] = {"end": end}
    if folder is not None:
        read_policy(folder)
        args["files"] = dict(policy_files(folder))
    told = cast("dict[str, Json]", ask_node(config, "policy.trial", args))
    if as_json:
        say_json(told)
        return
    if "policy" not in told:
        click.echo("no trial runs; begin one with `picket policy trial FOLDER`")
        return
    rows = cast("list[dict[str, Json]]", told["differ"])
    count = sum(int(str(row["count"])) for row in rows) + int(str(told["more"]))
    click.echo(f"{told['calls']} calls judged by both, {count} would differ")
    columns = ["agent", "server", "what", "live", "tried", "count"]
    say_table("would differ", columns, [[str(r[c]) for c in columns] for r in rows])


@policy.command("push")
@click.argument("folder", type=click.Path(path_type=Path))
@signing_options
@config_option
def policy_push(
    folder: Path, keys: tuple[str, ...], draft: str | None, config: str
) -> None:
    """Make FOLDER the policy of the whole cluster, by a quorum of operators."""
    check_signing(keys, draft)
    read_policy(folder)
    files = cast("dict[str, Json]", dict(policy_files(folder)))
    told = cast("dict[str, Json]", ask_node(config, "policy.draft", {"files": files}))
    told["sentence"] = f"pushed {str(told['digest'])[:16]}"
    finish_act(told, keys, draft, config)


@policy.command("pull")
@click.argument("folder", type=click.Path(path_type=Path))
@config_option
def policy_pull(folder: Path, config: str) -> None:
    """Write the policy that is in force into FOLDER, which must not hold another."""
    told = cast("dict[str, Json]", ask_node(config, "policy.show", {}))
    files = cast("dict[str, str]", told["files"])
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; name a new folder")
    if not files or any("/" in name or name.startswith(".") for name in files):
        raise UserError("the policy in force has no files that could be written")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        replace_file(folder / name, text.encode())
    by = ", ".join(cast("list[str]", told["signers"])) or "this node's own folder"
    click.echo(f"{folder}: {len(files)} files, digest {str(told['digest'])[:16]}, {by}")


@policy.command("learn")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--last", default=1_000, type=click.IntRange(1, 1_000))
@click.option("--policy", "folder", type=click.Path(path_type=Path))
@config_option
def policy_learn(file: Path, last: int, folder: Path | None, config: str) -> None:
    """Draft into FILE what permits the calls seen of late. Nothing is enabled."""
    if file.suffix == ".cedar":
        raise UserError(
            f"{file}: a draft must not end in .cedar, or it would be loaded"
        )
    seen = cast("list[dict[str, str]]", ask_node(config, "audit", {"last": last}))
    text, newly = draft([*seen], _policy(folder, config))
    replace_file(file, text.encode())
    click.echo(f"{file}: {text.count('permit(')} rules from {len(seen)} calls")
    for line in newly:
        click.echo(f"would newly allow: {line}")


def _pushed(config: str) -> str:
    """That the running node enforces what operators pushed, if it does."""
    try:
        told = cast("dict[str, Json]", ask_node(config, "policy.show", {}))
    except UserError:
        return ""  # no daemon: this folder is what it will start with
    if not told["version"]:
        return ""
    by = ", ".join(cast("list[str]", told["signers"]))
    return (
        f"in force is what operators pushed ({by}), digest"
        f" {str(told['digest'])[:16]}: see `picket policy pull DIR`;"
        f" {read_config(config).policy} is not read"
    )


def _slips(loaded: Policy, config: str) -> list[str]:
    """What rules name and nobody has, by the founders' file, the configuration, and
    the pins of wrapped servers; of the tutorial's own rules, one line."""
    if not locate(config).exists():
        return []
    node = read_config(config)
    if not node.founders_file.exists():
        return []
    nodes = load_founders(node).nodes
    found = find_slips(
        loaded,
        {role for founder in nodes for role in founder.grants},
        {name for founder in nodes for name in founder.servers}
        | {*node.servers}
        | _pinned_servers(config),
    )
    tutorial = Policy.load(starter_policy()).rules
    taught = [
        rule
        for rule, _ in found
        if rule in tutorial and tutorial[rule].source == loaded.rules[rule].source
    ]
    said = [f"rule `{rule}` {slip}" for rule, slip in found if rule not in taught]
    if taught:
        rules = len(set(taught))
        said.append(
            f"{rules} rule{'s' if rules > 1 else ''} of the tutorial policy name roles or"
            " servers that nobody here has: examples, to be replaced by your own"
        )
    return said


def _pinned_servers(config: str) -> set[str]:
    """Servers that were wrapped beside the running node, if it runs."""
    try:
        rows = cast("list[dict[str, str]]", ask_node(config, "tools.list", {}))
    except UserError:
        return set()
    return {row["server"] for row in rows}


def _policy(folder: Path | None, config: str) -> Policy:
    return read_policy(folder or read_config(config).policy)
