"""What a response does to the world outside the daemon."""
