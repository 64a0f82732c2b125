"""The daemon: all I/O lives here and nowhere else."""
