"""Programs emitted by 0.1.0 import `refconv.verification.layers.DigitLayer`; nothing else should.

Knows where DigitLayer is now.
"""

from refconv.verification.real_layers import DigitLayer

__all__ = ["DigitLayer"]
