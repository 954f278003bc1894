"""The asv suite: what refconv costs in time and memory, and how that compares with torch.

`overview` has a figure for each thing that users wait for, on public names alone; the other modules go into detail, and
know the insides of the commits that have them. Lower is better throughout: asv flags what rises.
"""
