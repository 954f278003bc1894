"""Addresses of 0.1.0: programs that it emitted import these modules, as `refconv.NAME`; nothing else should.

`of_refconv` is on the `__path__` of `refconv`, `of_verification` on that of `refconv.verification`. Knows where the
names are now; nothing else.
"""
