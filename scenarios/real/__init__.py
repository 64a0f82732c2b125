"""Scenarios against real daemons: processes, each in a network namespace of its own."""
