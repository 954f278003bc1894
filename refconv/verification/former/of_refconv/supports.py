"""Programs emitted by 0.1.0 import `refconv.supports.Supports`; nothing else should.

Knows where Supports is now.
"""

from refconv.cases.supports import Supports

__all__ = ["Supports"]
