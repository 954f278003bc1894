"""Correct kernels, step by step: what the mutants change. Knows geometries and formats; no mutant."""
