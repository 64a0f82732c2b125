"""The `picket` command: a client of the control socket."""
