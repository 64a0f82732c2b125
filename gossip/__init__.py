"""What nodes say to each other: sans-IO, one event in, effects out."""
