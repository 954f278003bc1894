"""Bugs that real kernels had, a file for each kind. Each mutant can be read alone. Knows the kernels."""
