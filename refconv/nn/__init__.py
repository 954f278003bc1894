"""Layers: torch's constructors, parameters and printing over the operators of refconv.

Public names only.
"""

from refconv.nn.layers import Conv2d, ConvTranspose2d

__all__ = ["Conv2d", "ConvTranspose2d"]
