"""How cases are made: which conditions are tried, in which combinations, with which numbers.

The way of a case, a file for each step:

- values.py: `Values`, raw numbers such as `batch=2, rows=3`; `Rules`, what an operator and a candidate allow.
- fitting.py: `fitted` turns any values into the nearest recipe that is valid and supported (supports.py).
- recipe.py: `Recipe`, a case before its arrays exist; `Recipe.case()` makes the arrays (fills.py) and the `Case`.
- levels.py: `levels`, which level of each factor ("stride (h)": "2") a finished recipe has.
- plan.py: `plan`, recipes that cover every possible pair of levels (space.py) and most triples (triples.py).
- shrink.py: `shrink`, from a recipe that fails to the simplest one that still does.

Why a recipe: arrays may fill gigabytes, a recipe is a few numbers. It is small enough to plan thousands and to send
them to worker processes, hashable to try none twice, shrunk number by number, and JSON to replay a saved failure.

To add a condition worth trying: a factor with its levels in `levels.FACTORS` and `levels.levels_of`, the values that
decide it in `space._fields`, and numbers that reach it in `space.DRAWN`; a size, in `levels.LARGE` and `large_of`.

Knows operators and cases; not candidates. networks.py has the layers of known networks.
"""
