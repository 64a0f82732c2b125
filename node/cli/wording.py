"""What an operators' act would do, in words, for whoever is asked to sign it."""

from collections.abc import Callable
from typing import Final

from enforcement.decide.acts import (
    read_allow_untrusted,
    read_confirmation_untrusted,
    read_false_positive_untrusted,
    read_release_untrusted,
    read_stand_down_untrusted,
)
from enforcement.decide.story import clock
from enforcement.defend.policy import Policy
from gossip.errors import PeerError, UserError
from gossip.ledger.entries import Subject, SubjectKind
from gossip.membership.acts import Act, read_draft_untrusted
from gossip.membership.founders import ActKind, Founders
from gossip.units import NodeId
from node.catalogue import read_approval_untrusted
from node.policing import read_bundle_untrusted
from node.second_factor import is_vouch, read_vouch_untrusted

Name = Callable[[Subject], str]


def describe(draft: bytes, founders: Founders | None) -> str:
    """One sentence; names come from the founders' file, where there is one.

    Raises:
        UserError: the draft is broken, or for another cluster.
    """
    try:
        act = read_draft_untrusted(draft, founders.cluster if founders else None)
        what = _WORDS.get(act.kind, _other)(act, lambda s: _name(s, founders))
    except PeerError as wrong:
        raise UserError(f"this draft is not to be signed: {wrong}") from None
    where = f"in cluster `{founders.cluster_name}`" if founders else "in its cluster"
    return f"{what} {where}; to be published until {clock(act.expires_at_ms)}"


def _name(subject: Subject, founders: Founders | None) -> str:
    if subject.kind is SubjectKind.NODE and founders is not None:
        known = {founder.node: founder.name for founder in founders.nodes}
        name = known.get(NodeId(subject.id))
        if name is not None:
            return f"node {name} ({subject.id.hex()[:16]})"
    return f"{subject.kind.name.lower()} {subject.id.hex()}"


def _because(reason: str) -> str:
    return f", because: {reason}" if reason else ", no reason given"


def _release(act: Act, name: Name) -> str:
    said = read_release_untrusted(act)
    stories = len(said.pardons)
    also = f", pardons {stories} proofs of two stories" if stories > 1 else ""
    also = ", pardons a proof of two stories" if stories == 1 else also
    return f"releases {name(said.subject)}{also}{_because(said.reason)}"


def _allow(act: Act, name: Name) -> str:
    found = read_allow_untrusted(act)
    until = clock(found.until_ms)
    return (
        f"enforces nothing against {name(found.subject)} until {until}"
        f"{_because(found.reason)}"
    )


def _stand_down(act: Act, name: Name) -> str:
    del name
    until, reason = read_stand_down_untrusted(act)
    return f"cuts nobody off automatically until {clock(until)}{_because(reason)}"


def _false_positive(act: Act, name: Name) -> str:
    found = read_false_positive_untrusted(act)
    reporter = name(Subject(SubjectKind.NODE, found.place[0]))
    return (
        f"strikes {reporter}'s report `{found.about}` about {name(found.subject)} and"
        f" lets the like pass until {clock(found.until_ms)}; {found.owner} answers for"
        f" it{_because(found.reason)}"
    )


def _tool_approval(act: Act, name: Name) -> str:
    if is_vouch(act):
        vouch = read_vouch_untrusted(act)
        whom = name(Subject(SubjectKind.AGENT, vouch.agent))
        what, until = f"{vouch.server}/{vouch.tool}", clock(vouch.until_ms)
        return f"lets {whom} use tool `{what}` as approved until {until}"
    server, tool, content = read_approval_untrusted(act)
    return f"accepts tool `{server}/{tool}` as declared by {content.hex()[:16]}"


def _policy(act: Act, name: Name) -> str:
    del name
    texts = read_bundle_untrusted(act.payload)
    digest = Policy.load(texts).digest.hex()[:16]
    return (
        f"makes {', '.join(sorted(texts))} the cluster's policy, digest {digest}"
        " (compare with `picket policy diff`)"
    )


def _roster(act: Act, name: Name) -> str:
    node, reason = read_confirmation_untrusted(act)
    whom = name(Subject(SubjectKind.NODE, node))
    return f"gives {whom} a voice of its own{_because(reason)}"


def _other(act: Act, name: Name) -> str:
    del name
    return f"an act of kind `{act.kind}` that this version cannot describe"


_WORDS: Final[dict[ActKind, Callable[[Act, Name], str]]] = {
    ActKind.RELEASE: _release,
    ActKind.ALLOW: _allow,
    ActKind.STAND_DOWN: _stand_down,
    ActKind.FALSE_POSITIVE: _false_positive,
    ActKind.TOOL_APPROVAL: _tool_approval,
    ActKind.POLICY: _policy,
    ActKind.ROSTER: _roster,
}


def count_signers(signed: set[bytes], founders: Founders | None, kind: ActKind) -> str:
    """Who signed so far, and how many are still missing."""
    if founders is None:
        return f"{len(signed)} signed"
    names = [o.name for o in founders.operators if o.key in signed]
    missing = max(0, founders.quorum[kind] - len(names))
    by = ", ".join(names) or "nobody"
    return f"signed by {by}; {missing} more needed" if missing else f"signed by {by}"
