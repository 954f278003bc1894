"""The candidate: a function under test, how it is loaded, called and watched, with which kinds of arrays.

`candidate` is the function, `loading` finds it, `native` wraps one of a shared library; `call` calls it once and says
what it did wrong; `arrangements` lay arrays out in memory, `array_kinds` make them another library's. Knows cases; not
what is examined.
"""
