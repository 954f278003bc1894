"""The ground floor: what a convolution is before any number is summed: shapes, padding, number formats, checks, errors.

Knows numbers and shapes; no array library, no compiled code, nothing of refconv above it.
"""
