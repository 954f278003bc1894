"""The README's Python is run, with the oracle in the place of the reader's kernel."""

import re
import sys
import types

import pytest
from paths import ROOT

import refconv

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number, monkeypatch, capsys):
    module = types.ModuleType("my_project")
    module.my_conv2d = refconv.conv2d
    monkeypatch.setitem(sys.modules, "my_project", module)
    scope = {"__name__": "readme"}
    exec(compile(BLOCKS[number], f"README.md, block {number}", "exec"), scope)  # noqa: S102 - our own text
    for name, value in scope.items():
        if name.startswith("test_"):
            value()
    printed = capsys.readouterr().out.strip()
    assert printed in README


def test_there_are_blocks():
    assert len(BLOCKS) == 3
