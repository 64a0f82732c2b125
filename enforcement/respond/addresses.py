"""Which addresses of the quarantined may be blocked without hitting a bystander.

An address is no principal: it may be shared by several members, or be the way
to something that must never be cut. So only what one member alone is known by
is ever blocked, and never what the operators protect; nor what nobody but a
newcomer itself says is its address, since it could name a resolver or a gateway,
and then let itself be convicted.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from gossip.membership.founders import Founder
from gossip.units import NodeId, UnixMs

IpAddress: TypeAlias = IPv4Address | IPv6Address
IpNetwork: TypeAlias = IPv4Network | IPv6Network


def choose_blocked(
    members: Iterable[Founder],
    until: Mapping[NodeId, UnixMs],
    never_block: Collection[IpNetwork],
    mine: NodeId,
    vouched: Callable[[NodeId], bool],
) -> dict[IpAddress, UnixMs]:
    """Addresses to block, each with the end of its owner's quarantine.

    Args:
        until: Who is cut off, and until when.
        mine: This node, whose own addresses are never blocked.
        vouched: Whether operators know a member: a founder, or one they confirmed.

    Returns:
        Only addresses that exactly one member uses. Names are left out: what
        they mean is not ours to decide.
    """
    if not until:
        return {}  # mostly, and members may be many
    owners: dict[IpAddress, set[NodeId]] = {}
    for member in members:
        for host, _ in member.addresses:
            address = _parse(host)
            if address is not None:
                owners.setdefault(address, set()).add(member.node)
    blocked: dict[IpAddress, UnixMs] = {}
    for address, nodes in owners.items():
        (owner, *others) = nodes
        if others or owner == mine or owner not in until or not vouched(owner):
            continue
        if address.is_unspecified or address.is_multicast:
            continue
        if not any(address in network for network in never_block):
            blocked[address] = until[owner]
    return blocked


def _parse(host: str) -> IpAddress | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None  # means another host on every link
        return address.ipv4_mapped or address
    return address
