"""Dynamic response: what a standing cuts, as effects."""
