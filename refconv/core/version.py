"""The version, at the bottom so that reports and journals can name it. Knows nothing else."""

__version__ = "0.2.0.dev0"
