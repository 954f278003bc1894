"""The version, at the bottom so that reports and journals can name it. Knows nothing else."""

__version__ = "0.1.0"
