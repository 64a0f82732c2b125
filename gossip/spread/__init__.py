"""How entries travel: the tree, the repair, whom to link."""
