"""Programs emitted by 0.1.0 import `refconv.recipes.Recipe`; nothing else should.

Knows where Recipe is now.
"""

from refconv.cases.recipe import Recipe

__all__ = ["Recipe"]
