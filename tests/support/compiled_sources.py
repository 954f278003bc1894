"""Prints what `warm_up` compiles, piece by piece, and the modules that it all comes from; compiles nothing.

Followed are functions that compiled ones call, close over or are made of by Numba's decorators. Modules that extend
Numba's compiler, by types, intrinsics and overloads, are printed too. A program, no test.
"""

import sys
from types import CodeType, FunctionType
from unittest.mock import MagicMock

from refconv.engine.targets import cpu
from refconv.engine.targets.jit import cfunctions


def codes(code):
    """A function's code, and that of all functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def follow(function, reached):
    """Add a function, and all that its code is made from."""
    if function in reached:
        return
    reached.add(function)
    closed = [cell.cell_contents for cell in function.__closure__ or ()]
    names = {name for code in codes(function.__code__) for name in code.co_names}
    for value in (*closed, *(function.__globals__.get(name) for name in names)):
        for other in (value, getattr(value, "py_func", None), getattr(value, "_defn", None)):
            if isinstance(other, FunctionType):
                follow(other, reached)


def main():
    compiled, reached = [], set()

    def compiler(function, *_, **__):
        compiled.append((function, MagicMock()))
        return compiled[-1][1]

    cfunctions.CFunc = compiler
    cfunctions.njit = lambda **_: compiler
    total = list(cpu.warm_up())[-1][1]
    assert len(compiled) == total, (len(compiled), total)
    for function, piece in compiled:
        print("piece", piece._cache.name)  # noqa: T201
        follow(function, reached)
    for name in sorted({function.__module__ for function in reached}):
        print("from", name)  # noqa: T201
    for name, module in list(sys.modules.items()):
        if "numba.core.extending" in {getattr(value, "__module__", "") for value in vars(module).values()}:
            print("extends", name)  # noqa: T201


if __name__ == "__main__":
    main()
