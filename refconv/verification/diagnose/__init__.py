"""Diagnosing: what a candidate that fails behaves like, when, and where its outputs are wrong.

`evidence` holds the cases, `conditions` and `regions` name what they share and where outputs are wrong, `findings`
gathers both, `rules` guess the class from them, `matching` tries mutants and `altered_calls`, `diagnosis` decides.
Knows outputs and mutants; not how the outputs were obtained.
"""
