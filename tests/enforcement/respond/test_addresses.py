"""What may be blocked at the packet filter: the guilty, and nobody beside them."""

from ipaddress import ip_address, ip_network

from enforcement.respond.addresses import choose_blocked
from gossip.membership.founders import Founder
from gossip.units import NodeId, UnixMs

UNTIL = UnixMs(1_800_000_000_000)
ME = NodeId(b"m" * 32)


def member(mark: str, *hosts: str) -> Founder:
    return Founder(
        name=mark,
        node=NodeId(mark.encode() * 32),
        addresses=tuple((host, 7946) for host in hosts),
        grants=frozenset(),
        servers=(),
    )


NEWCOMER = member("n", "192.0.2.53")


def blocked(*members: Founder, never: str = "203.0.113.0/24") -> set[str]:
    out = {m.node: UNTIL for m in members if m.name != "h"}
    chosen = choose_blocked(
        members, out, [ip_network(never)], ME, lambda node: node != NEWCOMER.node
    )
    assert set(chosen.values()) <= {UNTIL}
    return {str(address) for address in chosen}


def test_every_address_of_a_quarantined_node_is_blocked() -> None:
    assert blocked(member("a", "192.0.2.1", "2001:db8::1")) == {
        "192.0.2.1",
        "2001:db8::1",
    }


def test_an_address_shared_with_anybody_never_is() -> None:
    assert blocked(member("a", "192.0.2.1"), member("h", "192.0.2.1")) == set()
    assert blocked(member("a", "192.0.2.1"), member("b", "192.0.2.1")) == set()
    mapped = member("h", "::ffff:192.0.2.1")
    assert blocked(member("a", "192.0.2.1"), mapped) == set()


def test_never_block_networks_and_my_own_address_never_are() -> None:
    assert blocked(member("a", "203.0.113.7", "192.0.2.1")) == {"192.0.2.1"}
    assert blocked(member("m", "192.0.2.1")) == set()


def test_what_is_no_single_host_is_left_alone() -> None:
    hosts = ("db.example", "0.0.0.0", "::", "224.0.0.1", "fe80::1%eth0")
    assert blocked(member("a", *hosts)) == set()


def test_a_newcomer_cannot_have_a_bystander_blocked_but_can_be_one() -> None:
    assert blocked(NEWCOMER) == set(), "who says that this is its address?"
    assert blocked(member("a", "192.0.2.53"), NEWCOMER) == set()


def test_who_is_not_cut_off_is_not_blocked() -> None:
    everybody = [member("a", "192.0.2.1")]
    chosen = choose_blocked(everybody, {}, [], ME, lambda _node: True)
    assert chosen == {}
    assert ip_address("192.0.2.1") not in chosen
