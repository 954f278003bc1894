"""Exact sums, compiled: two float64 numbers with an error bound, and where that leaves a doubt, a long integer.

Knows the pieces that are compiled in `jit`; not which target asks.
"""
