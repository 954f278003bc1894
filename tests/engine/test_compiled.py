"""Compiled code on disk: never stale, never mixed up, and never missed when it can't be kept."""

import contextlib
import errno
import io
import os
import re
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from marks import evidence
from paths import ROOT, SUPPORT

from refconv.engine.targets.jit import cfunctions, digest

# The block length of the nest, compiled into a function that stores it, of which four are kept: half a second.
BLOCK = """
import numpy as np
from refconv.engine import nest
from refconv.engine.targets.jit.cfunctions import cfunction, inner
from refconv.engine.targets.jit.memory import view
@inner
def length():
    return nest.BLOCK
def block(out):
    view(np.int64, out, 1)[0] = length()
out = np.zeros(1, np.int64)
for number in range(4):
    cfunction(block, 1, number).ctypes(out.ctypes.data)
print(int(out[0]))
"""
# 300 ones and a number that float32 swallows or not, by the order of the additions: real kernels, ten seconds.
CONVOLUTION = """
import numpy as np
import refconv
x = np.ones((1, 300, 1, 1), "float32")
x[0, 0] = 2.0**24
print(int(refconv.conv2d(x, np.ones((1, 300, 1, 1), "float32"), precision="float32").item()))
"""
each_program = pytest.mark.parametrize(
    "program", [pytest.param(BLOCK, id="block"), pytest.param(CONVOLUTION, marks=evidence, id="convolution")]
)
EVERYTHING = """
import numpy as np
import refconv
from refconv.core import formats
for dtype in map(str, formats.SUPPORTED):
    for channels, groups in ((9, 1), (8, 2), (4, 4)):
        for number in (1, 100):  # sums that floats hold, and sums that they may not
            x = np.full((1, channels, 3, 3), number, dtype)
            w = np.full((channels, channels // groups, 1, 1), number, dtype)
            refconv.conv2d(x, w, None, 1, 0, 1, groups)
refconv.conv2d(np.ones((1, 4, 3, 3), "float32"), np.ones((4, 4, 1, 1), "float32"), precision="float32")
refconv.conv2d(np.full((1, 4, 3, 3), 2**28), np.full((4, 4, 1, 1), 2**28))
for dtype in map(str, formats.FLOATS):  # 1 + 2**-60 - 1: no two numbers hold that, but for float64's long sums
    x = np.array([1.0, 2.0**-8, -1.0] * 2).astype(dtype).reshape(1, 6, 1, 1)
    refconv.conv2d(x, np.full((1, 6, 1, 1), 0.75, dtype), precision="exact")
x = np.array([1.0, 2.0**-120, -1.0, 2.0**-53, 2.0**-106]).reshape(1, 5, 1, 1)
with refconv.count_redone() as count:
    refconv.conv2d(x, np.ones((1, 5, 1, 1)), precision="exact")
print(count.redone)
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


def stored(cache):
    """The files of a cache."""
    return sorted(path for path in (cache / "refconv").rglob("*") if path.is_file())


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def fill(cache, program):
    """What a program prints, and all that it needs into a cache; real kernels from this process's own."""
    if program is BLOCK:
        return run(program, cache)[0]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(program, {})  # noqa: S102
    own = cfunctions.folder()
    shutil.copytree(own, cache / "refconv" / own.name, ignore=lambda _, names: [n for n in names if ".bin" not in n])
    return printed.getvalue().split()


@each_program
def test_a_second_process_compiles_nothing(cache, program):
    """All comes from the disk, and the result is the same."""
    counted = COUNT.format(program=program)
    first, second = (run(counted, cache)[0] for _ in range(2))
    assert first[0] == second[0]
    assert int(first[1]) > 0 == int(second[1])


@pytest.fixture
def package(tmp_path):
    """A copy of the package."""
    shutil.copytree(ROOT / "refconv", tmp_path / "copy" / "refconv", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


def edit(package, length, *, keep_time=False):
    """Change the nest's block length, which changes the result."""
    nest = package / "refconv" / "engine" / "nest.py"
    times = nest.stat()
    nest.write_text(re.sub(r"BLOCK = \d+", f"BLOCK = {length}", nest.read_text()))
    if keep_time:
        os.utime(nest, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_an_edit_is_never_missed(cache, package):
    """Also one that no time stamp tells; and back. With real kernels."""
    fill(cache, CONVOLUTION)
    results = []
    for length in (256, 128, 256):
        edit(package, length, keep_time=True)
        results += run(CONVOLUTION, cache, package, PYTHONDONTWRITEBYTECODE="1")[0]
    assert results[0] == results[2] != results[1]


@each_program
def test_what_python_itself_misses_does_no_harm(cache, package, program):
    """Python's own cache takes an edit of the same size and time for none: later it is not taken for what ran then."""
    fill(cache, program)
    results = []
    for length, keep_time in ((256, True), (128, True), (128, False)):
        edit(package, length, keep_time=keep_time)
        results += run(program, cache, package, PYTHONDONTWRITEBYTECODE="")[0]
    assert results[0] == results[1] != results[2]


@each_program
def test_an_edit_while_a_process_runs_does_no_harm(cache, package, program):
    """What was imported before the edit is kept as what it is, not as what the files say when it is compiled."""
    editing = f"""
from pathlib import Path
from refconv.engine.targets import cpu
nest = Path({str(package / "refconv" / "engine" / "nest.py")!r})
nest.write_text(nest.read_text().replace("BLOCK = 256", "BLOCK = 128"))
{program}
"""
    (before,), _ = run(editing, cache, package)
    (after,), _ = run(program, cache, package)
    assert before != after


@each_program
def test_several_processes_at_once(cache, program):
    """All start with an empty cache, none fails, and what they leave is whole."""
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: run(program, cache), range(4)))
    assert len({tuple(printed) for printed, _ in results}) == 1
    assert not any(warnings for _, warnings in results)
    words = run(COUNT.format(program=program), cache)[0]
    assert words == [*results[0][0], "0"]
    assert not [file for file in stored(cache) if file.suffix != ".bin"]


@each_program
def test_damaged_files_are_compiled_anew(cache, program):
    """Empty, cut off, or with its last byte changed."""
    (expected,) = fill(cache, program)
    files = stored(cache)
    assert len(files) > 3
    for number, file in enumerate(files):
        whole = file.read_bytes()
        file.write_bytes((b"", whole[:100], whole[:-1] + bytes([whole[-1] ^ 1]))[number % 3])
    assert run(program, cache) == ([expected], "")
    assert run(COUNT.format(program=program), cache)[0] == [expected, "0"]


@each_program
def test_without_a_place_there_is_one_warning(cache, program):
    """A file where the folder should be: nothing can be kept, all is computed, and one warning says what to do."""
    cache.write_text("")
    (result,), warnings = run(program, cache)
    assert [result] == fill(cache.with_name("other"), program)
    assert warnings.count("RuntimeWarning") == 1
    assert f"refconv can't keep compiled code in {cache / 'refconv'}" in warnings
    assert "(Not a directory)" in warnings
    assert "Set NUMBA_CACHE_DIR to a folder that can be written to" in warnings


def test_the_warning_comes_once_for_a_folder(monkeypatch):
    """Whatever files are tried."""

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", f"{path}.{id(object())}")

    monkeypatch.setattr(cfunctions, "_whole", refuse)
    cfunctions._warn.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(3):
            cfunctions.cfunction(lambda _: None, 1, f"test{number}")
    assert [str(warning.message).count("(Permission denied)") for warning in caught] == [1]


def test_without_numbas_compiler_the_error_says_so(cache):
    """NUMBA_DISABLE_JIT leaves the plain-Python target."""
    program = """
import numpy as np, refconv
try:
    refconv.conv2d(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)))
except refconv.BackendUnavailable as error:
    print("NUMBA_DISABLE_JIT" in str(error))
print(refconv.conv2d(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), backend="python").item())
from refconv.__main__ import main; import sys
sys.argv[1:] = ["warmup"]
try:
    main()
except SystemExit as error:
    print(error.code)
"""
    printed, message = run(program, cache, NUMBA_DISABLE_JIT="1")
    assert printed == ["True", "1.0", "2"]
    assert message.startswith("refconv: backend='cpu': NUMBA_DISABLE_JIT is set")


def test_a_processor_without_known_vectors(cache):
    """Numba told to compile for any processor: other tiles, another place in the cache, the same bits."""
    (expected,) = fill(cache, CONVOLUTION)
    assert run(CONVOLUTION, cache, NUMBA_CPU_NAME="generic") == ([expected], "")
    assert run(COUNT.format(program=CONVOLUTION), cache)[0] == [expected, "0"]


def of_warm_up():
    """What `compiled_sources` prints: words, and what they are said of."""
    command = [sys.executable, str(SUPPORT / "compiled_sources.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split() for line in done.stdout.splitlines()]


def pieces_of(names):
    """The pieces that files of a cache are of: what is before the digest in their names."""
    return {name.rpartition("-")[0] for name in names}


@pytest.mark.parametrize("cold", [False, pytest.param(True, marks=evidence)])
def test_the_command_compiles_everything(cache, cold):
    """After `refconv warmup` there is nothing left to compile, whatever is computed.

    Not cold, the cache begins with those pieces of this process's own cache that `warm_up` names, and with no others.
    """
    pieces = {name for word, name in of_warm_up() if word == "piece"}
    own = cfunctions.folder()
    if own.is_dir() and not cold:
        others = lambda _, names: [name for name in names if not pieces_of([name]) <= pieces]  # noqa: E731
        shutil.copytree(own, cache / "refconv" / own.name, ignore=others)
    program = "import sys; from refconv.__main__ import main; sys.argv[1:] = ['warmup']; main()"
    printed, progress = run(program, cache)
    count, place = printed[0], printed[-1]
    assert place.startswith(str(cache / "refconv"))
    assert progress.splitlines()[-1] == f"compiled: {count} of {count}"
    assert len(pieces) == int(count)
    assert pieces_of(path.name for path in stored(cache)) == pieces
    assert run(COUNT.format(program=EVERYTHING), cache)[0] == ["1", "0"]


def test_the_digest_knows_all_that_is_compiled():
    """The functions, what these call, and what extends the compiler: of everything that `warm_up` compiles."""
    lines = of_warm_up()
    compiled, extending = (
        {name for how, name in lines if how == word and name.startswith("refconv")} for word in ("from", "extends")
    )
    targets = "refconv.engine.targets"
    pieces = ("cpu.kernel", "cpu.pack", "jit.memory", "jit.convert", "jit.certify", "exact.superaccumulator")
    assert compiled >= {"refconv.engine.nest", *(f"{targets}.{name}" for name in pieces)}
    assert f"{targets}.cpu.tile" in extending
    assert compiled | extending <= set(digest.sources())
