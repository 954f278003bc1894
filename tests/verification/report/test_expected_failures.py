"""Expected failures: the patterns of the file, which failures they match, and errors that name the wrong line."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refconv.verification.report.expected_failures import CAUSES, Expected

FILE = """
# what the first version does not do
conv2d/float16/values  # accumulates in float16: issue #12
  conv2d/*/every output written# the tail is left out

conv_transpose2d/float[36]*/*  # no bias
conv2d/*/values  # never reached for float16
"""
OPS, DTYPES = ("conv2d", "conv_transpose2d"), ("float16", "float32", "int8")
PROPERTIES = ("values", "every output written", "errors")
KEYS = st.tuples(st.sampled_from(OPS), st.sampled_from(DTYPES), st.sampled_from(PROPERTIES))
PATTERNS = st.tuples(
    st.sampled_from((*OPS, "*", "conv*")),
    st.sampled_from((*DTYPES, "*", "float??", "float[13]*")),
    st.sampled_from((*PROPERTIES, "*", "e*")),
)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (("conv2d", "float16", "values"), "accumulates in float16: issue #12"),
        (("conv2d", "float32", "values"), "never reached for float16"),
        (("conv2d", "int8", "every output written"), "the tail is left out"),
        (("conv2d", "int8", "errors"), ""),
        (("conv_transpose2d", "float32", "errors"), "no bias"),
        (("conv_transpose2d", "float16", "errors"), ""),
    ],
)
def test_a_file(tmp_path, key, reason):
    path = tmp_path / "expected.txt"
    path.write_text(FILE)
    assert Expected.read(path).reason(*key) == reason


@given(st.lists(PATTERNS, unique=True), KEYS)
def test_the_first_pattern_that_matches_gives_the_reason(patterns, key):
    expected = Expected.parse("\n".join(f"{'/'.join(pattern)} # {n}" for n, pattern in enumerate(patterns)))
    matching = [n for n, pattern in enumerate(patterns) if all(map(fnmatchcase, key, pattern))]
    assert expected.reason(*key) == (str(matching[0]) if matching else "")


@given(st.lists(PATTERNS, unique=True), st.dictionaries(KEYS, st.lists(st.sampled_from(CAUSES))))
def test_entries_without_a_failure_are_told(patterns, seen):
    expected = Expected.parse("\n".join(f"{'/'.join(pattern)} # why" for pattern in patterns))
    notes = dict(zip(patterns, [""] * len(patterns), strict=True))
    for note in expected.unmatched(seen):
        notes[expected.entries[int(note.split(",")[0].removeprefix("line ")) - 1].pattern] = note
    for pattern, note in notes.items():
        failed = [value for key, value in seen.items() if all(map(fnmatchcase, key, pattern))]
        if any(failed):
            assert note == ""
        else:
            assert note.endswith("expected to fail, but passes" if failed else "matches nothing that was checked")
            assert "(why)" in note


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("conv2d/float32/values", "line 2: 'conv2d/float32/values' must end with its reason"),
        ("conv2d/float32/values  #  ", "must end with its reason"),
        ("conv2d/float32  # why", "must be op/dtype/property  # reason"),
        ("conv2d/float32/values/more  # why", "cause 'more' must be one of crash, exception, unknown, "),
        ("conv2d/float32/values/crash/now  # why", "must be op/dtype/property  # reason"),
        ("conv2d//values  # why", "must be op/dtype/property  # reason"),
        ("values  # why", "must be op/dtype/property  # reason"),
        ("a/b/c # known", "stands in line 1 already"),
    ],
)
def test_wrong_lines_are_named(tmp_path, line, message):
    path = tmp_path / "expected.txt"
    path.write_text(f"a/b/c  # known\n{line}\n")
    with pytest.raises(ValueError, match=f"expected.txt, .*{message}"):
        Expected.read(path)


def test_all_wrong_lines_are_named_at_once():
    with pytest.raises(ValueError, match=r"line 1: .*\n.*line 3: "):
        Expected.parse("conv2d\n\nconv2d/*/*")


def test_what_is_not_text(tmp_path):
    path = tmp_path / "expected.txt"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"expected\.txt: must be text in UTF-8"):
        Expected.read(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Expected.read(tmp_path / "none.txt")


def test_nothing_is_expected_by_default():
    assert Expected().reason("conv2d", "float32", "values") == ""
    assert Expected().unmatched({("conv2d", "float32", "values"): True}) == ()
