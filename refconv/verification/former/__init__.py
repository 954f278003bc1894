"""Addresses of 0.1.0: programs that it emitted import these modules, as `refconv.NAME`; nothing else should.

`refconv` and `refconv.verification` find them because this folder is on the `__path__` of both. Knows where the names
are now; nothing else.
"""
