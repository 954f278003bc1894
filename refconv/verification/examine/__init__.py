"""Examining: whether a candidate has its properties on a case, in this process, in another one, in many.

Knows candidates; not how failures are explained or told.
"""
