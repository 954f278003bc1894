"""The floor plan: rooms, the floors that they stand on, and imports, which point down only."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    [*(ROOT / "refconv").rglob("*.py"), ROOT / "_refconv_pytest.py", *(ROOT / "asv_bench" / "benchmarks").rglob("*.py")]
)

# From the ground up. A room is a top-level name under `refconv`, or one of the two that stand beside it.
FLOORS = [
    {"core"},
    {"arrays"},
    {"engine"},
    {"ops"},
    {"judge", "mutants", "nn"},
    {"cases"},
    {"verification", "strategies"},
    {"__init__", "cli", "_refconv_pytest"},
    {"__main__", "asv_bench"},
]


def module(path):
    """The dotted name of a source file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in SOURCES}


def imported(path):
    """Modules of the house that a source file imports, wherever in the file; for type checkers only, too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # `from package import module` imports the module; the package's face is run too, but asked for nothing.
            names = [
                name if (name := f"{node.module}.{alias.name}") in MODULES else node.module for alias in node.names
            ]
        else:
            continue
        yield from (name for name in names if name in MODULES)


def room(name):
    """A module's room: its top-level name under `refconv`, or its top-level name."""
    first, *rest = name.split(".")
    return (rest or ["__init__"])[0] if first == "refconv" else first


@cache
def arrows():
    """For each room, the rooms that it imports from."""
    rooms = {room(name): set() for name in MODULES}
    for name, path in MODULES.items():
        rooms[room(name)] |= {room(other) for other in imported(path)} - {room(name)}
    return rooms


def floors():
    """The floor of each room: one above the highest that it imports from."""
    floor = {}
    for name in TopologicalSorter(arrows()).static_order():  # CycleError if rooms import each other in a circle
        floor[name] = 1 + max((floor[below] for below in arrows()[name]), default=0)
    return floor


def test_rooms_stand_where_the_plan_has_them():
    """No room but those of the plan, and no longer path of imports than it has floors: none can grow unseen."""
    assert floors() == {name: number for number, names in enumerate(FLOORS, 1) for name in names}


def test_no_import_runs_up():
    """Nor along a floor: rooms beside each other do not know each other."""
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    for name, path in MODULES.items():
        for other in imported(path):
            assert room(other) == room(name) or floor[room(other)] < floor[room(name)], f"{name} imports {other}"


def test_no_files_import_each_other():
    """Nor by way of others: each file can be read after those that it imports."""
    TopologicalSorter({name: set(imported(path)) for name, path in MODULES.items()}).prepare()  # CycleError if so
