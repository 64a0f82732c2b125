"""What holds for all tests."""

from hypothesis import settings

# A busy machine is no failure: nothing here judges by the clock.
settings.register_profile("house", settings(), deadline=None)
settings.load_profile("house")
