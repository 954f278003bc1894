"""The GPU's memory: the device itself, streams, buffers that are kept, and other libraries' arrays there.

Imported when the GPU is first asked for: numba.cuda is loaded then. Knows nothing of kernels.
"""
