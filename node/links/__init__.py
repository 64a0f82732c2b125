"""Links: authenticated, multiplexed connections to other nodes, on py-libp2p."""
