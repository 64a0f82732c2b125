"""A quarantined node that lets a friend carry its calls: it gains nothing."""

import pytest

from gossip.errors import PeerError
from gossip.membership.identity import certify_agent
from gossip.units import UnixMs
from node.clock import SystemClock
from node.proxy.mesh import Credentials
from node.proxy.provider import read_caller_untrusted
from tests.support.members import HOUR
from tests.support.proxies import desk_of, found

ROSTER, PLACES = found("convict", "friend", "vault")
CONVICT, FRIEND = PLACES["convict"], PLACES["friend"]


def test_a_friend_cannot_speak_for_the_agents_of_another_node() -> None:
    convicts = Credentials(
        CONVICT.principal.chain.encoded, CONVICT.principal.cert.encoded
    )
    borrowed = Credentials(
        FRIEND.principal.chain.encoded, CONVICT.principal.cert.encoded
    )
    desk = desk_of(PLACES["vault"], ROSTER)
    for shown in (convicts, borrowed):
        with pytest.raises(PeerError, match="another node"):
            read_caller_untrusted(desk, shown, FRIEND.node)
    assert read_caller_untrusted(desk, convicts, CONVICT.node).node == CONVICT.node


def test_an_agent_that_a_friend_takes_in_is_still_who_was_convicted() -> None:
    """Its key is what it is called by, whoever certifies it under whatever name."""
    now = SystemClock().unix_ms()
    cert = certify_agent(
        FRIEND.member.key,
        FRIEND.node,
        CONVICT.agent_key.public_key,
        "somebody-else",
        ("retail",),
        now,
        UnixMs(now + HOUR),
    )
    shown = Credentials(FRIEND.principal.chain.encoded, cert)
    read = read_caller_untrusted(desk_of(PLACES["vault"], ROSTER), shown, FRIEND.node)
    assert read.node == FRIEND.node
    assert read.agent == CONVICT.principal.agent
