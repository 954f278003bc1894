"""The asv suite: what refconv costs in time and memory, and how that compares with torch."""
