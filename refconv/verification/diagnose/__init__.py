"""Diagnosing: what a candidate that fails behaves like, when, and where its outputs are wrong.

Knows outputs and mutants; not how the outputs were obtained.
"""
