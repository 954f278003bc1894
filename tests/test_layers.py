"""The floor plan: every module imports only from the floors below it."""

import ast
from pathlib import Path

import refconv

FLOORS = [
    ["core", "errors", "redone", "distant"],
    ["formats", "padding", "device"],
    ["arrays", "geometry"],
    ["layout"],
    ["nest", "correlation"],
    ["targets"],
    ["lowering"],
    ["integers"],
    ["evaluation"],
    ["ops"],
    ["quantized"],
    ["operators"],
    ["receptive", "skipping", "bounds"],
    ["suspicion"],
    ["compare", "figures"],
    ["tolerances"],
    ["case", "sampling"],
    ["nn", "fills"],
    ["recipes", "mutants"],
    ["supports"],
    ["fitting"],
    ["levels"],
    ["factors"],
    ["networks"],
    ["strategies"],
    ["verification"],
    ["advice", "benchmark", "info"],
    ["commands"],
    ["cli"],
    ["__init__", "__main__"],
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
ROOT = Path(refconv.__file__).parent


def room(path):
    """The name under which a source file stands in the plan."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    """Rooms of refconv that a source file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "refconv" and len(parts) > 1 and parts[1] in FLOOR:
                yield parts[1]


def test_imports_point_down():
    """No module imports from above its own floor, and every module has one."""
    sources = list(ROOT.rglob("*.py"))
    assert {room(path) for path in sources} <= set(FLOOR)
    for path in sources:
        for name in imported(path):
            assert name == room(path) or FLOOR[name] <= FLOOR[room(path)], f"{path.name} imports {name}"
