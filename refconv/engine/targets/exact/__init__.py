"""Exact sums, compiled: two float64 numbers with an error bound; a long integer where the bound leaves a doubt.

Knows the compiled functions of `jit`; not which target asks.
"""
