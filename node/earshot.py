"""Whether others would hear what operators decide at this node.

Nobody takes links from a node that is cut off, so a release or an allowance that is
submitted there would change what it thinks itself, and nothing anywhere else.
"""

from typing import TYPE_CHECKING

from enforcement.decide.acts import read_allow_untrusted, read_release_untrusted
from gossip.ledger.entries import Subject, SubjectKind
from gossip.membership.acts import Act
from gossip.membership.founders import ActKind

if TYPE_CHECKING:
    from node.daemon import Daemon


def find_deafness(daemon: "Daemon", subject: Subject) -> str | None:
    """Why an act of mercy for ``subject`` must be submitted elsewhere; None if here.

    Among nodes that are all cut off, in its own eyes, a node decides for itself: that
    opens its links again.
    """
    court, me = daemon.court, Subject(SubjectKind.NODE, daemon.me)
    alone = not daemon.engine.linked()
    if court.denial(me) is None and not (alone and subject == me):
        return None
    others = [Subject(SubjectKind.NODE, m.node) for m in daemon.roster.members()]
    others = [one for one in others if one != me and court.denial(one) is None]
    if not others:
        return None
    return (
        f"run this at another node, which is linked: `{court.roster.name(daemon.me)}`"
        " is cut off, the others do not hear it, and nothing was recorded"
    )


def find_deafness_to(daemon: "Daemon", act: Act) -> str | None:
    """The same of a signed act; others than of mercy are heard once there are links.

    Raises:
        PeerError: it is broken.
    """
    if act.kind is ActKind.RELEASE:
        return find_deafness(daemon, read_release_untrusted(act).subject)
    if act.kind is ActKind.ALLOW:
        return find_deafness(daemon, read_allow_untrusted(act).subject)
    return None


def tell_unheard(daemon: "Daemon") -> list[str]:
    """What to say of an act that no other node hears yet."""
    if daemon.engine.linked() or len(daemon.roster.members()) < 2:
        return []
    return ["no other node is linked now: they hear of it once one is"]
