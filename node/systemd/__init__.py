"""Under systemd: the unit, and the notify protocol that tells it how we are."""
