"""Programs emitted by 0.1.0 import `refconv.verification.misuse.Wrong`; nothing else should.

Knows where Wrong is now.
"""

from refconv.verification.examine.wrong_arguments import Wrong

__all__ = ["Wrong"]
