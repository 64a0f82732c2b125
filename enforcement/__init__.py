"""What a node allows and whom it convicts: sans-IO, one event in, effects out."""
