"""The engine: how a convolution is summed. One loop nest, what is lowered to it, and the targets that run it.

Knows geometries, NumPy arrays and accumulators; not which operator was called, nor the caller's kind of array.
"""
