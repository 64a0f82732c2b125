"""What the control socket answers about policy, tools and approvals."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from enforcement.defend.policy import Policy
from enforcement.defend.trial import Trial
from enforcement.detect.pins import Manifest
from gossip.errors import PeerError
from gossip.membership.founders import ActKind
from gossip.units import AgentId, UnixMs
from node.bundles import remembered
from node.catalogue import draft_approval
from node.control import Answer, Args, Command, int_arg, text_arg
from node.jsonlines import Json
from node.policing import draft_policy
from node.second_factor import VOUCH_MS_MAX, Vouch, draft_vouch

if TYPE_CHECKING:
    from node.daemon import Daemon


def policy_commands(daemon: "Daemon") -> dict[str, Command]:
    """These commands of one daemon."""

    def command(answer: Callable[["Daemon", Args], Answer]) -> Command:
        return lambda args: answer(daemon, args)

    return {
        "policy.show": command(_show),
        "policy.check": command(_check),
        "policy.draft": command(_draft),
        "policy.trial": command(_trial),
        "tools.list": command(_tools),
        "tools.show": command(_tool),
        "tools.accept": command(_accept),
        "tools.draft": command(_draft_approval),
        "approve": command(_approve),
        "approve.draft": command(_draft_vouch),
    }


def _show(daemon: "Daemon", args: Args) -> Json:
    """The policy in force: its texts, and who made it so."""
    del args
    texts = daemon.policing.texts
    if texts is None:
        held = remembered(daemon.store)
        texts = held[-1] if held else {}
    return {
        "digest": daemon.policy_digest.hex(),
        "version": daemon.policing.version,
        "signers": [*daemon.policing.signers],
        "files": dict(texts),
    }


def _check(daemon: "Daemon", args: Args) -> Json:
    """Whether a policy fits the tools pinned here; what it reads that none declares."""
    found = daemon.guard.check(Policy.load(_texts(args)))
    return [{"rule": rule, "parameter": name} for rule, name in found]


def _draft(daemon: "Daemon", args: Args) -> Json:
    """What operators sign to give the cluster this policy."""
    texts = _texts(args)
    daemon.guard.check(Policy.load(texts))
    now = daemon.clock.unix_ms()
    return {
        "draft": draft_policy(texts, daemon.roster, now).hex(),
        "digest": Policy.load(texts).digest.hex(),
        "needed": daemon.roster.founders.quorum[ActKind.POLICY],
    }


def _trial(daemon: "Daemon", args: Args) -> Json:
    """Begin, look at, or end a trial of another policy beside the live one."""
    post = daemon.guard.post
    if args.get("files") is not None:
        post.trial = Trial(Policy.load(_texts(args)), daemon.clock.unix_ms())
    trial = post.trial
    if args.get("end"):
        post.trial = None
    if trial is None:
        return {"running": False}
    return {
        "running": post.trial is not None,
        "policy": trial.policy.digest.hex(),
        "since_ms": trial.since_ms,
        "calls": trial.calls,
        "more": trial.others,
        "differ": [
            {
                "agent": agent,
                "server": server,
                "what": what,
                "live": live,
                "tried": tried,
                "count": count,
            }
            for (agent, server, what, live, tried), count in trial.differences()
        ],
    }


def _texts(args: Args) -> Mapping[str, str]:
    files = args.get("files")
    if not isinstance(files, dict) or not files:
        raise PeerError("argument `files` must hold texts by file name")
    return {str(name): str(text) for name, text in files.items()}


def _tools(daemon: "Daemon", args: Args) -> Json:
    del args
    pins = daemon.guard.pins
    return [
        {
            "server": m.server,
            "tool": m.tool,
            "digest": m.digest.hex(),
            "level": m.level.value,
            "tags": [*sorted(m.tags.all)],
            "fault": m.fault,
            "held": pins.held(m.server, m.tool) is not None,
        }
        for m in pins.tools()
    ]


def _tool(daemon: "Daemon", args: Args) -> Json:
    server, tool = text_arg(args, "server"), text_arg(args, "tool")
    pins = daemon.guard.pins
    pinned, held = pins.find(server, tool), pins.held(server, tool)
    if pinned is None:
        raise PeerError(f"no tool `{tool}` of `{server}` was ever listed here")
    return {"pinned": _declared(pinned), "held": _declared(held) if held else None}


def _declared(manifest: Manifest) -> Json:
    return {"digest": manifest.digest.hex(), "declares": manifest.encoded.decode()}


def _accept(daemon: "Daemon", args: Args) -> Json:
    """An operator at this node accepts what a tool declares now."""
    server, tool = text_arg(args, "server"), text_arg(args, "tool")
    accepted = daemon.guard.pins.accept(server, tool)
    if accepted is None:
        raise PeerError(f"the tool `{tool}` of `{server}` has not changed")
    daemon.log.warn(f"`{server}/{tool}` was accepted as it is now")
    return {"digest": accepted.digest.hex()}


def _draft_approval(daemon: "Daemon", args: Args) -> Json:
    """What operators sign to accept on all nodes what a tool declares now."""
    server, tool = text_arg(args, "server"), text_arg(args, "tool")
    held = daemon.guard.pins.held(server, tool) or daemon.guard.pins.find(server, tool)
    if held is None:
        raise PeerError(f"no tool `{tool}` of `{server}` was ever listed here")
    now, roster = daemon.clock.unix_ms(), daemon.roster
    return {
        "draft": draft_approval(roster, server, tool, held.digest, now).hex(),
        "digest": held.digest.hex(),
        "needed": roster.founders.quorum[ActKind.TOOL_APPROVAL],
    }


def _approve(daemon: "Daemon", args: Args) -> Json:
    """A person vouches for an agent, or for its use of one tool."""
    name, what = text_arg(args, "agent"), text_arg(args, "tool", "")
    now = daemon.clock.unix_ms()
    if not what:
        agent = _agent(daemon, name)
        daemon.guard.restore_trust(agent, now)
        return {"agent": agent.hex(), "trusted": True}
    vouch = _read_vouch(daemon, args, now)
    known = vouch.agent, vouch.server, vouch.tool, vouch.until_ms
    daemon.guard.post.approvals.approve(*known, now)
    seconds = (vouch.until_ms - now) // 1_000
    daemon.log.warn(f"agent `{name}` is approved for `{what}` for {seconds} s")
    return {"agent": vouch.agent.hex(), "tool": what, "until_ms": vouch.until_ms}


def _draft_vouch(daemon: "Daemon", args: Args) -> Json:
    """What operators sign to approve an agent's use of one tool at all gates."""
    now, roster = daemon.clock.unix_ms(), daemon.roster
    vouch = _read_vouch(daemon, args, now)
    return {
        "draft": draft_vouch(roster, vouch, now).hex(),
        "needed": roster.founders.quorum[ActKind.TOOL_APPROVAL],
    }


def _read_vouch(daemon: "Daemon", args: Args, now: UnixMs) -> Vouch:
    what = text_arg(args, "tool", "")
    server, slash, tool = what.partition("/")
    if not slash or not tool:
        raise PeerError(f"`{what}` is not `SERVER/TOOL`")
    seconds = int_arg(args, "seconds", 600, 1, VOUCH_MS_MAX // 1_000)
    until = UnixMs(now + seconds * 1_000)
    return Vouch(_agent(daemon, text_arg(args, "agent")), server, tool, until)


def _agent(daemon: "Daemon", name: str) -> AgentId:
    """An agent beside this node by its name; any by its id."""
    principal = daemon.ring.principals.get(name)
    if principal is not None:
        return principal.agent
    try:
        identity = bytes.fromhex(name.removeprefix("agent:"))
    except ValueError:
        identity = b""
    if len(identity) != 32:
        raise PeerError(
            f"no agent `{name}` is beside this node; give the id that `picket agent"
            " list` shows at its own"
        )
    return AgentId(identity)
