"""The candidate: a function under test, how it is loaded, called and watched, with which kinds of arrays.

Knows cases; not what is examined.
"""
