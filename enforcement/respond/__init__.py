"""Dynamic response: what follows from a standing, as wishes an actuator fulfils."""
