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
from paths import ROOT

from refconv.engine.targets.jit import cfunctions, digest

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


def stored(cache):
    """The files of a cache."""
    return sorted(path for path in (cache / "refconv").rglob("*") if path.is_file())


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def fill(cache):
    """What the program prints, and all that it needs into a cache: from this process's own, which has it then."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(PROGRAM, {})  # noqa: S102
    own = cfunctions.folder()
    shutil.copytree(own, cache / "refconv" / own.name, ignore=lambda _, names: [n for n in names if ".bin" not in n])
    return printed.getvalue().split()


def test_a_second_process_compiles_nothing(cache):
    """All comes from the disk, and the result is the same."""
    counted = COUNT.format(program=PROGRAM)
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
    """Also one that no time stamp tells; and back."""
    fill(cache)
    results = []
    for length in (256, 128, 256):
        edit(package, length, keep_time=True)
        results += run(PROGRAM, cache, package, PYTHONDONTWRITEBYTECODE="1")[0]
    assert results[0] == results[2] != results[1]


def test_what_python_itself_misses_does_no_harm(cache, package):
    """Python's own cache takes an edit of the same size and time for none: later it is not taken for what ran then."""
    fill(cache)
    results = []
    for length, keep_time in ((256, True), (128, True), (128, False)):
        edit(package, length, keep_time=keep_time)
        results += run(PROGRAM, cache, package, PYTHONDONTWRITEBYTECODE="")[0]
    assert results[0] == results[1] != results[2]


def test_an_edit_while_a_process_runs_does_no_harm(cache, package):
    """What was imported before the edit is kept as what it is, not as what the files say when it is compiled."""
    program = f"""
from pathlib import Path
from refconv.engine.targets import cpu
nest = Path({str(package / "refconv" / "engine" / "nest.py")!r})
nest.write_text(nest.read_text().replace("BLOCK = 256", "BLOCK = 128"))
{PROGRAM}
"""
    (before,), _ = run(program, cache, package)
    (after,), _ = run(PROGRAM, cache, package)
    assert before != after


def test_several_processes_at_once(cache):
    """All start with an empty cache, none fails, and what they leave is whole."""
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: run(PROGRAM, cache), range(4)))
    assert len({tuple(printed) for printed, _ in results}) == 1
    assert not any(warnings for _, warnings in results)
    found = run(COUNT.format(program=PROGRAM), cache)[0]
    assert found == [*results[0][0], "0"]
    assert not [file for file in stored(cache) if file.suffix != ".bin"]


def test_damaged_files_are_compiled_anew(cache):
    """Empty, cut off, or with its last byte changed."""
    (expected,) = fill(cache)
    files = stored(cache)
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
    assert [result] == fill(cache.with_name("other"))
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
    assert [str(each.message).count("(Permission denied)") for each in caught] == [1]


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
    (expected,) = fill(cache)
    assert run(PROGRAM, cache, NUMBA_CPU_NAME="generic") == ([expected], "")
    assert run(COUNT.format(program=PROGRAM), cache)[0] == [expected, "0"]


def test_the_command_compiles_everything(cache):
    """After `refconv warmup` there is nothing left to compile, whatever is computed.

    And the cache's keys know all that it compiles: the functions, what these call, and what extends the compiler.
    """
    program = """
from numba.core import event
from refconv.__main__ import main
import sys
sys.argv[1:] = ["warmup"]
listener = event.RecordingListener()
with event.install_listener("numba:compile", listener):
    try:
        main()
    except SystemExit as ended:
        assert not ended.code
print("--")
for _, each in listener.buffer:
    function = each.data["dispatcher"].py_func
    print(function.__module__)
    for name in function.__code__.co_names:
        print(getattr(function.__globals__.get(name), "__module__", None) or "none")
for name, module in list(sys.modules.items()):
    if "numba.core.extending" in {getattr(value, "__module__", "") for value in vars(module).values()}:
        print(name)
"""
    printed, progress = run(program, cache)
    end = printed.index("--")
    count, place, sources = printed[0], printed[end - 1], printed[end + 1 :]
    assert place.startswith(str(cache / "refconv"))
    assert len(stored(cache)) == int(count)
    assert progress.splitlines()[-1] == f"compiled: {count} of {count}"
    compiled = {name for name in sources if name.startswith("refconv")}
    assert {"refconv.engine.nest", "refconv.engine.targets.cpu.kernel", "refconv.engine.targets.cpu.tile"} <= compiled
    assert compiled <= set(digest.sources())
    every = """
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
print(1)
"""
    assert run(COUNT.format(program=every), cache)[0] == ["1", "0"]
