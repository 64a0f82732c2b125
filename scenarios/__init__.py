"""The simulator, the demo, and the library of scenarios."""
