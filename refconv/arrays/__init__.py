"""Arrays: those of any library in, as NumPy sees them, and results out as the caller's kind, wherever they lie.

Knows array libraries by their objects and protocols, and the GPU's memory; not what is computed of the numbers.
"""
