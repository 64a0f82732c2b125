"""Names are for people: they help to find, and never decide."""

from enforcement.detect.pins import read_manifest_untrusted
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import AgentId, NodeId
from node.names import NAMES_MAX, Names
from tests.support.courts import court

NODE = NodeId(b"n" * 32)


def agent(number: int) -> AgentId:
    return AgentId(number.to_bytes(32, "big"))


def test_an_agent_is_found_by_its_name_and_two_are_both_shown() -> None:
    names = Names()
    names.learn(agent(1), "bot", NODE)
    names.learn(agent(2), "clerk", NODE)
    assert names.find("bot") == [Subject(SubjectKind.AGENT, agent(1))]
    names.learn(agent(3), "bot", NODE)
    assert len(names.find("bot")) == 2
    assert names.find("nobody") == []


def test_the_last_name_counts_and_memory_is_bounded() -> None:
    names = Names()
    names.learn(agent(1), "before", NODE)
    names.learn(agent(1), "after", NODE)
    assert names.find("before") == []
    for number in range(2, NAMES_MAX + 2):
        names.learn(agent(number), "crowd", NODE)
    assert names.find("after") == []
    assert len(names.find("crowd")) == NAMES_MAX


def test_a_tool_is_found_and_told_by_its_name() -> None:
    names = Names()
    manifest = read_manifest_untrusted("sql", {"name": "read"})
    artefact = Subject(SubjectKind.ARTEFACT, manifest.digest)
    assert names.find("sql/read") == []
    assert names.tell(court(), artefact).startswith("artefact ")
    names.pins.see(manifest)
    assert names.find("sql/read") == [artefact]
    assert names.tell(court(), artefact) == "tool sql/read"
