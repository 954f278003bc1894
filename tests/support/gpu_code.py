"""The GPU's kernels as machine code, without a GPU: compiled to PTX, linked to SASS, disassembled, counted.

Run by itself it prints the tables of docs/gpu.md.
"""

import re
import subprocess
import sys
import tempfile
import types
from collections import Counter
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from cuda.bindings import nvjitlink
from numba.cuda import dispatcher
from numba.cuda.compiler import _compile_pyfunc_with_fixup
from numba.cuda.typing.typeof import typeof

from refconv.core.formats import EXACT
from refconv.engine.targets.cuda.execute import specializations
from refconv.engine.targets.cuda.extent import shapes
from refconv.engine.targets.cuda.kernel import UNROLLED
from refconv.engine.targets.cuda.transfer import THREADS

NAMES = tuple(specializations())
ARCHITECTURES = (75, 90, 120)
MAIN = "dense float32"
OTHERS = (80, 86, 89, 100)  # for the main kernel
CHUNK = shapes(np.dtype("float32"))["dense"].terms
FIRST_OF_A_DIALECT = (100, 75)  # NVVM's two: a kernel's front end runs once for each
# What the sums of an accumulator are made with.
FUSED = {"float32": "FFMA", "float64": "DFMA", "int64": "IMAD", "exact": "DFMA"}


@cache
def _library(name, dialect):
    """A kernel as Numba's front end leaves it."""
    function, job = specializations()[name]
    capability = divmod(dialect, 10)
    device = types.SimpleNamespace(compute_capability=capability)
    # What a kernel calls is compiled for the current device, as if there were one.
    with mock.patch.object(dispatcher, "get_current_device", return_value=device):
        library, _ = _compile_pyfunc_with_fixup(
            function.py_func, (typeof(job),), device=False, abi="numba", cc=capability
        )
    return library


def llvm(name):
    """LLVM's code of a kernel and all that it calls."""
    return "\n".join(_library(name, FIRST_OF_A_DIALECT[1]).llvm_strs)


@cache
def ptx(name, architecture):
    """PTX of a kernel for a compute capability, such as 90."""
    dialect = next(first for first in FIRST_OF_A_DIALECT if first <= architecture)
    return _library(name, dialect).get_asm_str(cc=divmod(architecture, 10))


def linked(text, architecture, most_registers=None):
    """Machine code of PTX, and what the linker says about it."""
    limit = [f"-maxrregcount={most_registers}"] if most_registers else []
    options = [f"-arch=sm_{architecture}", "-verbose", "-O3", *limit]
    handle = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, text.encode(), len(text.encode()), "kernel")
        nvjitlink.complete(handle)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
        cubin = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, cubin)
    finally:
        nvjitlink.destroy(handle)
    return bytes(cubin), log.decode()


def disassembler():
    """The program nvdisasm, None if it is not installed."""
    try:
        files = metadata.files("nvidia-cuda-nvdisasm") or ()
    except metadata.PackageNotFoundError:
        return None
    return next(str(file.locate()) for file in files if file.name in ("nvdisasm", "nvdisasm.exe"))


def disassembled(cubin):
    """SASS: a line for each instruction or label."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        command = [disassembler(), "-c", str(path)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    tokens = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;|^(\.L\w+):", text, re.MULTILINE)
    return [instruction or label for instruction, label in tokens]


def opcode(line):
    """The instruction of a line of SASS with its modifiers, "" for a label."""
    match = re.match(r"(?:@!?U?P\w+ +)?([A-Z][A-Z0-9_.]*)", line)
    return match[1] if match else ""


def is_a(line, name):
    return opcode(line).partition(".")[0] == name


def listed(name):
    """The architectures that the tables have a kernel for."""
    return sorted(ARCHITECTURES + (OTHERS if name == MAIN else ()))


@cache
def code(name, architecture):
    return Code(name, architecture)


class Code:
    """A kernel as machine code."""

    def __init__(self, name, architecture):
        self.name, self.architecture = name, architecture
        function, _ = specializations()[name]
        cubin, self.log = linked(ptx(name, architecture), architecture, function.targetoptions.get("max_registers"))
        self.lines = disassembled(cubin)

    def _said(self, pattern):
        return sum(map(int, re.findall(pattern, self.log)))

    @property
    def registers(self):
        return self._said(r"Used (\d+) registers")

    @property
    def spilled(self):
        return self._said(r"(\d+) bytes spill (?:stores|loads)")

    @property
    def stack(self):
        return self._said(r"(\d+) bytes stack frame")

    @property
    def shared(self):
        return self._said(r"(\d+) bytes smem")

    @cached_property
    def opcodes(self):
        """How many there are of each, without modifiers."""
        return Counter(opcode(line).partition(".")[0] for line in self.lines)

    @property
    def loop(self):
        """The innermost loop with most of the instructions that make sums."""
        fused = FUSED[self.name.split()[1]]
        return max(_innermost(self.lines), key=lambda body: sum(is_a(line, fused) for line in body), default=[])

    @property
    def share(self):
        """Of the loop's instructions, those that make sums."""
        fused = FUSED[self.name.split()[1]]
        return sum(is_a(line, fused) for line in self.loop) / max(1, sum(bool(opcode(line)) for line in self.loop))

    @property
    def chunk_share(self):
        """Of all that is executed for a whole chunk of terms, staging included, what makes sums."""
        inner = self.loop
        around = min((body for body in _loops(self.lines) if body != inner and _within(inner, body)), key=len)
        # What a branch skips, if it has a loop of its own, is for chunks that are not whole.
        skipped = max((body for body in _skipped(around) if not _within(inner, body) and any(_loops(body))), key=len)
        n_inner, n_around, n_skipped = (sum(bool(opcode(line)) for line in body) for body in (inner, around, skipped))
        turns = CHUNK / UNROLLED
        return turns * self.share * n_inner / ((turns - 1) * n_inner + n_around - n_skipped)


def _skipped(lines):
    """What lies between branches and their targets further on."""
    places = {label: at for at, label in enumerate(lines) if not opcode(label)}
    for start, line in enumerate(lines):
        target = re.search(r"\bBRA\b.*?(\.L\w+)", line)
        if target and places.get(target[1], 0) > start:
            yield lines[start + 1 : places[target[1]]]


def _within(inner, body):
    return any(body[at : at + len(inner)] == inner for at in range(len(body) - len(inner) + 1))


def _innermost(lines):
    """Loops without others in them."""
    loops = list(_loops(lines))
    for body in loops:
        if not any(len(other) < len(body) and _within(other, body) for other in loops):
            yield body


def _loops(lines):
    """Lines from a label to a branch back to it."""
    places = {label: at for at, label in enumerate(lines) if not opcode(label)}
    for end, line in enumerate(lines):
        target = re.search(r"\bBRA\b.*?(\.L\w+)", line)
        if target and places.get(target[1], len(lines)) <= end:
            yield lines[places[target[1]] : end + 1]


# --- the tables ----------------------------------------------------------------------------------------------------


class Processor(NamedTuple):
    """A streaming multiprocessor."""

    threads: int
    shared: int  # bytes, for all blocks
    reserved: int = 1024  # bytes of it that each block takes besides what the linker says
    registers: int = 65536


# NVIDIA, CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
PROCESSORS = {
    75: Processor(1024, 64 * 1024, reserved=0),
    80: Processor(2048, 164 * 1024),
    86: Processor(1536, 100 * 1024),
    89: Processor(1536, 100 * 1024),
    90: Processor(2048, 228 * 1024, reserved=0),  # there the linker says it
    100: Processor(2048, 228 * 1024),
    120: Processor(1536, 100 * 1024),
}


def threads_of(name):
    """Of a block."""
    function, accumulator = name.split()
    of_sums = EXACT if accumulator == "exact" else np.dtype(accumulator)
    return shapes(of_sums)[function].threads if function in shapes(EXACT) else THREADS


def occupancy(kernel):
    """Of the threads that a processor can hold, those that it holds of this kernel."""
    processor, threads = PROCESSORS[kernel.architecture], threads_of(kernel.name)
    block_registers = -(-kernel.registers // 8) * 8 * threads  # registers are given out by eights
    blocks = min(
        processor.registers // block_registers,
        processor.threads // threads,
        processor.shared // max(1, kernel.shared + processor.reserved),
    )
    return blocks * threads / processor.threads


def row(kernel):
    """A line of the table."""
    share = f"{kernel.share:.0%}" if kernel.name.split()[0] in shapes(EXACT) else ""
    cells = (
        kernel.name, f"sm_{kernel.architecture}", kernel.registers, kernel.shared, f"{occupancy(kernel):.0%}",
        kernel.opcodes.total(), share,
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


class Card(NamedTuple):
    """A GPU, by its data sheet: float32 without tensor cores, and memory."""

    name: str
    architecture: int
    flops: float
    bandwidth: float  # bytes a second


CARDS = (
    Card("A100 SXM 80 GB", 80, 19.5e12, 2.04e12),
    Card("H100 SXM", 90, 66.9e12, 3.35e12),
    Card("RTX 4090", 89, 82.6e12, 1.01e12),
)
# Images, channels in and out, edge, kernel; "same" padding.
LAYERS = {
    "3x3, 256 to 256, 56x56, 32 images": (32, 256, 256, 56, 3),
    "1x1, 64 to 256, 56x56, 32 images": (32, 64, 256, 56, 1),
}


def estimates():
    """All lines of the table of estimates."""
    return [_estimate(card, layer) for card in CARDS for layer in LAYERS]


def _estimate(card, layer):
    """A line of the table of estimates: each kernel as fast as its instructions and its traffic allow."""
    images, inputs, outputs, edge, kernel = LAYERS[layer]
    share = code(MAIN, card.architecture).chunk_share
    x, packed, out = (
        4 * images * n * size**2 for n, size in ((inputs, edge), (inputs, edge + kernel - 1), (outputs, edge))
    )
    work = 2 * images * edge**2 * outputs * inputs * kernel**2
    moves = (x + 3 * packed + out + 2 * out) / card.bandwidth  # pack, read for two tiles of channels at a time, deliver
    seconds = work / (card.flops * share) + moves
    return (
        f"| {card.name} | {layer} | {share:.0%} | {work / seconds / 1e12:.0f} | {0.7 * card.flops / 1e12:.0f} to "
        f"{0.9 * card.flops / 1e12:.0f} |"
    )


if __name__ == "__main__":
    for name in NAMES:
        for architecture in listed(name):
            sys.stdout.write(row(code(name, architecture)) + "\n")
            sys.stdout.flush()
    sys.stdout.write("\n".join(estimates()) + "\n")
