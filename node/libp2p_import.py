"""Imports py-libp2p without what only the command lines of its dependencies use.

It brings two HTTP clients that nothing here calls. One shows colours where a library
for that is found, the other guesses the charsets of pages; both do without, and an
idle daemon holds 6 MB less.
"""

import importlib
import sys
import warnings
from typing import Final

UNUSED: Final = ("rich", "pygments", "chardet", "charset_normalizer")


def import_libp2p() -> None:
    """Import it once; whoever wants one of `UNUSED` later still gets it."""
    absent = [name for name in UNUSED if name not in sys.modules]
    try:
        for name in absent:
            # To Python this is a module that is not installed.
            sys.modules[name] = None  # type: ignore[assignment]  # as documented
        with warnings.catch_warnings(action="ignore"):
            importlib.import_module("libp2p")
    finally:
        for name in absent:
            del sys.modules[name]
