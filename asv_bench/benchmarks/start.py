"""Compiling all of it, as `refconv warmup` does: what a container image takes once. See overview.Start for the rest."""

from .overview import seconds_of


def track_warmup() -> float:
    """Seconds, with an empty cache."""
    return seconds_of("all of it compiled")


track_warmup.unit = "s"
track_warmup.timeout = 600
