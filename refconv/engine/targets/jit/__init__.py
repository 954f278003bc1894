"""What compiled code is made of, for every target: C functions kept on disk, loads and stores, arithmetic, formats.

Knows Numba and LLVM; not the nest, no schedule, no target.
"""
