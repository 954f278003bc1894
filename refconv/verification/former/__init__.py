"""Addresses of 0.1.0: programs that it emitted import these modules, as `refconv.NAME`; nothing else should.

`refconv` finds those of `of_refconv`, and `refconv.verification` those of `of_verification`: on their `__path__`. Knows where the names
are now; nothing else.
"""
