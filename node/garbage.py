"""Looks for garbage less often: each look at all that lives holds up the loop.

Python looks through everything whenever a quarter has been added, which takes it
60 ms where 40 000 reports are held. What a daemon holds is let go of by counting
references; little is left that only such a look finds, and it can wait. While a
daemon starts, hardly anything is garbage: it starts a sixth sooner without a look.
"""

import gc
from typing import Final

THRESHOLDS: Final = (5_000, 10, 100)
"""Young objects to look at, and so many rounds to look at older ones, at all."""


def collect_nothing() -> None:
    """Do not look for garbage before `collect_rarely`."""
    gc.disable()


def collect_rarely() -> None:
    """Set aside what lives now, for good, and look for garbage less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()
