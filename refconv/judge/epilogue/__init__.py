"""Epilogues judged: what must come out of a convolution with steps behind it, and what else is admissible.

`enclosures` carries intervals through steps, `admissible` with what a kernel may add to them; `truth` computes single
values as exactly as is asked for; `fused` puts them together for a call.
"""
