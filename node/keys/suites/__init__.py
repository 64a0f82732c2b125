"""Providers of suite 1, byte-compatible with each other."""
