"""What people call agents and tools: names from certificates, proofs and lists seen.

Only for people to read and type. A name is its node's choice and proves nothing;
two nodes may use one name, and then it must be said which.
"""

from typing import Final

import attrs

from enforcement.decide.court import Court
from enforcement.decide.story import name_of
from enforcement.detect.pins import Pins
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import AgentId, NodeId

NAMES_MAX: Final = 4_096


@attrs.define
class Names:
    """Agents by id; the longest unheard of is forgotten first.

    Attributes:
        pins: The tools of all servers, once there are any.
    """

    pins: Pins = attrs.field(factory=Pins)
    _known: dict[AgentId, tuple[str, NodeId]] = attrs.field(init=False, factory=dict)

    def learn(self, agent: AgentId, name: str, node: NodeId) -> None:
        """An agent of ``node`` was seen under ``name``."""
        self._known.pop(agent, None)
        self._known[agent] = (name, node)
        if len(self._known) > NAMES_MAX:
            del self._known[next(iter(self._known))]

    def find(self, name: str) -> list[Subject]:
        """Every agent of that name; or a ``server/tool``, as it is pinned."""
        server, _, tool = name.partition("/")
        pinned = self.pins.find(server, tool)
        return [
            Subject(SubjectKind.AGENT, agent)
            for agent, (known, _) in self._known.items()
            if known == name
        ] + ([Subject(SubjectKind.ARTEFACT, pinned.digest)] if pinned else [])

    def node_of(self, agent: AgentId) -> NodeId | None:
        """The node of an agent, if it was seen."""
        known = self._known.get(agent)
        return known[1] if known else None

    def tell(self, court: Court, subject: Subject) -> str:
        """What to call a subject: with its name and node if they are known."""
        if subject.kind is SubjectKind.ARTEFACT:
            for tool in self.pins.named(subject.id):
                return f"tool {tool.server}/{tool.tool}"
        known = self._known.get(AgentId(subject.id))
        if subject.kind is not SubjectKind.AGENT or known is None:
            return name_of(court, subject)
        name, node = known
        return f"agent {name} of {court.roster.name(node)}"
