"""The GPU's kernels as machine code: registers, memory, what the inner loops consist of. No GPU is needed."""

import re

import pytest
from marks import evidence
from paths import ROOT

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
pytest.importorskip("cuda.bindings.nvjitlink", reason="nvJitLink is not installed")

from gpu_code import CARDS, LAYERS, MAIN, NAMES, code, disassembler, estimates, is_a, listed, llvm, opcode, ptx, row

pytestmark = pytest.mark.skipif(disassembler() is None, reason="nvidia-cuda-nvdisasm is not installed")

TABLES = (ROOT / "docs" / "gpu.md").read_text()


# To link and disassemble takes seconds for each: these are looked at always, the others by `make evidence`.
ALWAYS = [(MAIN, 90), ("grouped float64", 90), ("deliver exact", 90)]
MADE = [
    pytest.param(name, architecture, marks=() if (name, architecture) in ALWAYS else evidence)
    for name in NAMES for architecture in listed(name)
]  # fmt: skip
COMPILED = [pytest.param(name, marks=() if (name, 90) in ALWAYS else evidence) for name in NAMES]


@pytest.mark.parametrize(("name", "architecture"), MADE)
def test_sums_are_registers(name, architecture):
    """Nothing is spilled, no array is in memory, nothing is called."""
    kernel = code(name, architecture)
    assert 0 < kernel.registers <= 128
    assert kernel.spilled == kernel.stack == 0
    # Of functions: up to sm_89 the end of a loop may be a CALL of what follows it, to which nothing returns.
    assert not {"LDL", "STL", "RET"} & set(kernel.opcodes)
    assert row(kernel) in TABLES, "run `python tests/support/gpu_code.py`"


@pytest.mark.parametrize("architecture", [pytest.param(a, marks=() if a == 90 else evidence) for a in listed(MAIN)])
def test_inner_loop(architecture):
    """Seven in ten instructions make sums; the others are loads of four numbers and the loop itself."""
    kernel = code(MAIN, architecture)
    assert kernel.share >= 0.7
    loads = {opcode(line) for line in kernel.loop if opcode(line).startswith("LD")}
    assert loads <= {"LDS.128", "LDS.U.128"}
    assert any(is_a(line, "LDG") and ".128" in line for line in kernel.lines)  # weights


def test_the_tables_have_no_more():
    """Than the rows that are compared."""
    rows = re.findall(r"^\| (.*) \| sm_(\d+) \|", TABLES, re.MULTILINE)
    assert rows == [(name, str(architecture)) for name in NAMES for architecture in listed(name)]
    assert len(re.findall(rf"^\| (?:{'|'.join(card.name for card in CARDS)}) \|", TABLES, re.MULTILINE)) == len(
        CARDS
    ) * len(LAYERS)


@evidence
def test_estimates():
    """They stand for the code that there is, on the GPUs that are named."""
    assert {card.architecture for card in CARDS} <= set(listed(MAIN))
    assert [line for line in estimates() if line not in TABLES] == [], "run `python tests/support/gpu_code.py`"


@pytest.mark.parametrize("name", COMPILED)
def test_nothing_is_left_to_contract(name):
    """No product can be fused with a sum: products of floats are rounded by themselves, or fused where we say so."""
    assert "fmul" not in llvm(name)
    text = ptx(name, 90)
    assert "mul.f32" not in text.replace("mul.rn.f32", "")
    assert "mul.f64" not in text.replace("mul.rn.f64", "")


def test_what_would_fail():
    """These checks do find spills, and products."""
    assert "fma.rn.f32" in ptx(MAIN, 90)
    assert "mul.rn.f64" in ptx("deliver exact", 90)
    assert code("deliver exact", 90).opcodes["DMUL"] > 0
