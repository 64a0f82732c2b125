"""Secrets at rest and the suites that use them."""
