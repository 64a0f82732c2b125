"""From standings to what is enforced: observe mode and the safety valve.

A proof always denies the principal's calls. What voices alone decided about
nodes, and how many links are closed, is capped, so that a cluster can never be
talked into cutting itself to pieces. Pure functions of standings: nodes that
agree on those agree on this.
"""

from collections.abc import Mapping

import attrs

from enforcement.decide.case import Basis, Level, Rules, Standing
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import NodeId


@attrs.frozen(kw_only=True)
class Enforced:
    """What this node does about the standings at one moment.

    Attributes:
        denied: Whose calls are refused, and the standing that says so.
        refused_links: Nodes that may not link.
        held_back: Quarantines that the valve or observe mode does not enforce.
    """

    denied: Mapping[Subject, Standing]
    refused_links: frozenset[NodeId]
    held_back: frozenset[Subject]


def enforce(
    quarantined: Mapping[Subject, Standing], rules: Rules, *, observe: bool
) -> Enforced:
    """Apply observe mode and the valve to everyone who is quarantined now.

    Who was cut off first stays cut off; ties are broken by id.
    """
    denied: dict[Subject, Standing] = {}
    held_back: set[Subject] = set()
    links: list[NodeId] = []
    nodes_by_voices = 0
    for subject, standing in sorted(quarantined.items(), key=_first_come):
        assert standing.level is Level.QUARANTINED
        is_node = subject.kind is SubjectKind.NODE
        if standing.basis is Basis.VOICES:
            if observe or (is_node and nodes_by_voices >= rules.valve):
                held_back.add(subject)
                continue
            nodes_by_voices += is_node
        denied[subject] = standing
        if is_node and len(links) < rules.valve:
            links.append(NodeId(subject.id))
    return Enforced(
        denied=denied, refused_links=frozenset(links), held_back=frozenset(held_back)
    )


def _first_come(item: tuple[Subject, Standing]) -> tuple[int, Subject]:
    return (item[1].since_ms or 0, item[0])
