"""Compiled code on disk: never stale, never mixed up, and never missed when it can't be kept."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# 300 ones and a number that float32 swallows or not, by the order of the additions.
PROGRAM = """
import numpy as np
import refconv
x = np.ones((1, 300, 1, 1), "float32")
x[0, 0] = 2.0**24
print(int(refconv.conv2d(x, np.ones((1, 300, 1, 1), "float32"), precision="float32").item()))
"""
COUNT = """
from numba.core import event
listener = event.RecordingListener()
with event.install_listener("numba:compile", listener):
    exec({program!r})
print(len(listener.buffer))
"""


def run(program, cache, package=ROOT, **environment):
    """What a new process prints, one word for each line, and its warnings."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(package)} | environment
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, env=environment, cwd=cache.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_a_second_process_compiles_nothing(cache):
    """All comes from the disk, and the result is the same."""
    counted = COUNT.format(program=PROGRAM)
    first, second = (run(counted, cache)[0] for _ in range(2))
    assert first[0] == second[0]
    assert int(first[1]) > 0 == int(second[1])


def test_an_edit_of_any_source_is_never_missed(cache, tmp_path):
    """The nest's block length is changed in a copy of the package: the result changes with it, and back."""
    package = tmp_path / "copy"
    shutil.copytree(ROOT / "refconv", package / "refconv", ignore=shutil.ignore_patterns("__pycache__"))
    nest = package / "refconv" / "nest.py"
    source, times = nest.read_text(), nest.stat()
    (before,), _ = run(PROGRAM, cache, package)
    nest.write_text(source.replace("BLOCK = 256", "BLOCK = 128"))
    os.utime(nest, ns=(times.st_atime_ns, times.st_mtime_ns))  # an edit that a time stamp does not tell
    (edited,), _ = run(PROGRAM, cache, package)
    nest.write_text(source)
    (after,), _ = run(PROGRAM, cache, package)
    assert before == after != edited


def test_every_compiled_source_is_part_of_the_key():
    """Kernels are compiled from the nest and from targets/cpu: no other module of ours may use Numba's compiler."""
    for path in (ROOT / "refconv").rglob("*.py"):
        if "cpu" not in path.parts:
            assert "njit" not in path.read_text(), path


def test_eight_processes_at_once(cache):
    """All start with an empty cache, none fails, and what they leave is whole."""
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: run(PROGRAM, cache), range(8)))
    assert len({tuple(printed) for printed, _ in results}) == 1
    assert not any(warnings for _, warnings in results)
    found = run(COUNT.format(program=PROGRAM), cache)[0]
    assert found == [*results[0][0], "0"]
    assert not [file for file in (cache / "refconv").iterdir() if file.suffix != ".bin"]


def test_damaged_files_are_compiled_anew(cache):
    """Empty, cut off, or with its last byte changed."""
    (expected,), _ = run(PROGRAM, cache)
    files = sorted((cache / "refconv").iterdir())
    assert len(files) > 3
    for number, file in enumerate(files):
        whole = file.read_bytes()
        file.write_bytes((b"", whole[:100], whole[:-1] + bytes([whole[-1] ^ 1]))[number % 3])
    assert run(PROGRAM, cache) == ([expected], "")
    assert run(COUNT.format(program=PROGRAM), cache)[0] == [expected, "0"]


def test_without_a_place_there_is_one_warning(cache):
    """A file where the folder should be: nothing can be kept, all is computed, and one warning says what to do."""
    cache.write_text("")
    (result,), warnings = run(PROGRAM, cache)
    assert result == run(PROGRAM, cache.with_name("other"))[0][0]
    assert warnings.count("RuntimeWarning") == 1
    assert f"refconv can't keep compiled code in {cache / 'refconv'}" in warnings
    assert "Set NUMBA_CACHE_DIR to a folder that can be written to" in warnings


def test_without_numbas_compiler_the_error_says_so(cache):
    """NUMBA_DISABLE_JIT leaves the plain-Python target."""
    program = """
import numpy as np, refconv
try:
    refconv.conv2d(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)))
except refconv.BackendUnavailable as error:
    print("NUMBA_DISABLE_JIT" in str(error))
print(refconv.conv2d(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), backend="python").item())
"""
    assert run(program, cache, NUMBA_DISABLE_JIT="1")[0] == ["True", "1.0"]


def test_a_processor_without_known_vectors(cache):
    """Numba told to compile for any processor: other tiles, another place in the cache, the same bits."""
    (expected,), _ = run(PROGRAM, cache)
    assert run(PROGRAM, cache, NUMBA_CPU_NAME="generic") == ([expected], "")
    assert run(COUNT.format(program=PROGRAM), cache)[0] == [expected, "0"]


def test_the_command_compiles_everything(cache):
    """After `refconv warmup` there is nothing left to compile, whatever is computed."""
    program = "from refconv.cli import main; import sys; sys.argv[1:] = ['warmup']; main()"
    printed, progress = run(program, cache)
    assert printed[-1] == str(cache / "refconv")
    assert progress.splitlines()[-1] == f"compiled: {printed[0]} of {printed[0]}"
    every = """
import numpy as np
import refconv
from refconv import formats
for dtype in map(str, formats.SUPPORTED):
    for channels, groups in ((9, 1), (8, 2), (4, 4)):
        for number in (1, 100):  # sums that floats hold, and sums that they may not
            x = np.full((1, channels, 3, 3), number, dtype)
            w = np.full((channels, channels // groups, 1, 1), number, dtype)
            refconv.conv2d(x, w, None, 1, 0, 1, groups)
refconv.conv2d(np.ones((1, 4, 3, 3), "float32"), np.ones((4, 4, 1, 1), "float32"), precision="float32")
refconv.conv2d(np.full((1, 4, 3, 3), 2**28), np.full((4, 4, 1, 1), 2**28))
print(1)
"""
    assert run(COUNT.format(program=every), cache)[0] == ["1", "0"]
