"""Actuators: what a standing does to the machine. Each can be told its wish anew."""
