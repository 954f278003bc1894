"""Modules that are not needed to run: imported where they are used, with an error that says how to get them."""

from importlib import import_module
from typing import Any


def optional_module(name: str, what: str) -> Any:
    """An optional module, or an error that says how to get it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise ModuleNotFoundError(f"{what} needs {package}: pip install {package}", name=package) from error
