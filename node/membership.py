"""Which member this node is: a founder, or a newcomer with a card of its own."""

import attrs

from gossip.errors import UserError
from gossip.membership.roster import Roster
from gossip.units import NodeId
from node.config import Config, load_member
from node.keys.node_keys import certified_node


def find_me(config: Config, roster: Roster) -> NodeId:
    """This node's id. A newcomer takes itself for a member until others let it in.

    Raises:
        UserError: its keys are not those of the member that it is called after.
    """
    me = certified_node(config.state)
    meant = load_member(config, roster.founders)
    if meant.node != me:
        raise UserError(
            f"{config.founders_file}: `{config.name}` has another id than the keys in"
            f" {config.state}; join the founders' file from this node's card.toml"
        )
    if not roster.is_founder(me):
        roster.expect(attrs.evolve(meant, servers=()))
    return me
