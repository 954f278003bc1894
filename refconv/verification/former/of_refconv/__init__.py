"""Modules that 0.1.0 had in `refconv`: on its `__path__`."""
