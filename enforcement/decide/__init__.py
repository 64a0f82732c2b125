"""Decision: evidence in, standings out."""
