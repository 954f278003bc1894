"""How cases are made: what is tried, in which combinations, with which numbers.

A *recipe* is a case before its arrays exist: small, hashable, shrinkable, JSON. A *plan* is recipes that cover every
pair of *levels* of the factors under which kernels break; *fitting* turns raw numbers into the nearest recipe that is
valid and supported. Knows operators and cases; not candidates.
"""
