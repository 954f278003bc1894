"""Programs emitted by 0.1.0 import `refconv.fills.operands`; nothing else should.

Knows where operands is now.
"""

from refconv.cases.fills import operands

__all__ = ["operands"]
