"""Modules that 0.1.0 had in `refconv.verification`: on its `__path__`."""
