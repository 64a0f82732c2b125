"""What was said: signed feeds, their entries, and what is admitted."""
