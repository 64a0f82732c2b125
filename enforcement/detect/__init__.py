"""Detection: what looks wrong although no rule forbids it."""
