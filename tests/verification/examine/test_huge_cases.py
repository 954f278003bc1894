"""Huge cases: offsets that wrap are found, with small limits for speed and once at the real ones."""

import math
import types

import numpy as np
import pytest
from campaigns import verify

import refconv
from refconv.cases import huge as huge_module
from refconv.cases.huge import huge_cases
from refconv.verification import asked, memory, sections
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.examine import huge_cases as examining
from refconv.verification.examine.examiner import Examiner

SMALL = {"2**31 bytes": (2**15, True), "2**32 bytes": (2**16, True), "2**31 elements": (2**15, False)}


@pytest.fixture
def small(monkeypatch):
    """Limits that take no memory."""
    for module in (huge_module, examining):
        monkeypatch.setattr(module, "LIMITS", SMALL)
    for name, number in {"PERIOD": 1009, "CHANNELS": 7, "TERMS": 11, "SIDES": (13, 17)}.items():
        monkeypatch.setattr(huge_module, name, number)


def examine(function, huge, **options):
    return examining.examine(Examiner(Candidate(function, **options)), huge)


def wrapping(array, element):
    """A conv2d that takes offsets into an array modulo this element."""

    def candidate(input, weight, *options):
        arrays = {"input": input, "weight": weight}
        if array == "output":
            out = refconv.conv2d(input, weight, *options)
            written = np.zeros(out.size, out.dtype)
            for start in range(0, out.size, element):  # what comes last stays
                part = out.reshape(-1)[start : start + element]
                written[: len(part)] = part
            return written.reshape(out.shape)
        arrays[array] = np.resize(arrays[array].reshape(-1)[:element], arrays[array].shape)
        return refconv.conv2d(arrays["input"], arrays["weight"], *options)

    return candidate


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "float8_e5m2"])
def test_offsets_that_wrap_are_found(dtype):
    cases = list(huge_cases(dtype))
    assert {huge.array for huge in cases} == {"input", "weight", "output"}
    for huge in cases:
        size = math.prod(huge.shapes[huge.array])
        for limit, in_bytes in (SMALL[name] for name in huge.passed):
            element = limit // huge.dtypes[huge.array].itemsize if in_bytes else limit
            assert size > element
            examination = examine(wrapping(huge.array, element), huge)
            assert [finding.property for finding in examination.findings] == ["values"]
            assert str(huge) in examination.findings[0].text
        assert examine(refconv.conv2d, huge).findings == ()
        assert examine(refconv.conv2d, huge, arrays="numpy").checked


@pytest.mark.usefixtures("small")
def test_arrays_are_handed_over_where_they_lie():
    torch = pytest.importorskip("torch")
    (huge, *_) = huge_cases("float32")

    def writes(*arguments):
        *given, out = arguments
        out[...] = refconv.conv2d(*given)

    assert examine(writes, huge, style="out").findings == ()
    assert examine(torch.nn.functional.conv2d, huge, arrays="torch").findings == ()
    assert [finding.property for finding in examine(lambda *_: None, huge, style="out").findings] == ["values"]
    assert [finding.property for finding in examine(lambda *_: None, huge).findings] == ["kind of array"]
    assert [finding.property for finding in examine(lambda *_: np.zeros(3), huge).findings] == ["shape and dtype"]

    def raises(*_):
        raise MemoryError("no room")

    (finding,) = examine(raises, huge).findings
    assert finding.property == "returns"
    assert "no room" in finding.text

    def refuses(*_):
        raise NotImplementedError

    assert not examine(refuses, huge).supported


@pytest.mark.usefixtures("small", "generated_only")
def test_a_campaign_with_huge_cases(monkeypatch):
    monkeypatch.setattr(asked, "available", lambda: 10**6)
    every = list(huge_cases("float32"))
    report = verify(refconv.conv2d, cases=20, huge=True, isolate=False)
    assert report.ok
    (section,) = (result for result in report.results if result.section == sections.HUGE)
    assert section.n_cases == len(every)
    least, *_, most = sorted(huge.bytes for huge in every)
    report = verify(wrapping("weight", 2**14), cases=20, huge=True, memory=most - 1, isolate=False)
    assert any("left out for want of memory" in note for note in report.notes)
    (failure,) = (failure for failure in report.failures if failure.section == sections.HUGE)
    assert "whose weight is above" in failure.text
    assert "Huge(array='weight'" in failure.snippet
    assert not failure.example
    with pytest.raises(ValueError, match=rf"memory={least - 1}: must be at least {least}, which the smallest"):
        verify(refconv.conv2d, huge=True, memory=least - 1)
    monkeypatch.setattr(asked, "available", lambda: 100)
    with pytest.raises(ValueError, match=r"memory=100 \(what is free, less 1 GiB\): must be at least"):
        verify(refconv.conv2d, huge=True)


@pytest.mark.usefixtures("small", "generated_only")
def test_what_no_huge_case_can_be():
    with pytest.raises(ValueError, match="huge=True: must be False for op='conv2d_bias'"):
        verify(refconv.conv2d_bias, "conv2d_bias", huge=True)
    with pytest.raises(ValueError, match="memory=5: must not be given without huge=True"):
        verify(refconv.conv2d, memory=5)
    with pytest.raises(TypeError, match="huge=1: must be True or False"):
        verify(refconv.conv2d, huge=1)
    report = verify(refconv.conv2d, cases=20, huge=True, isolate=False, supports={"kernel": 3})
    (section,) = (result for result in report.results if result.section == sections.HUGE)
    assert section.skipped == "the candidate takes none of them"
    report = verify(refconv.conv2d, cases=20, huge=True, isolate=False, largest=10)
    assert any("for it has more than 10 products" in note for note in report.notes)


@pytest.mark.parametrize("value", ["0", "-1", "20 G", "many", "", -5, "G"])
def test_a_size_is_a_positive_number_of_bytes(value):
    with pytest.raises(ValueError, match=r"memory=.*: must be a positive number of bytes"):
        memory.size("memory", value)


@pytest.mark.parametrize("value", [True, 1.5, None])
def test_a_size_is_a_number_or_text(value):
    with pytest.raises(TypeError, match="memory="):
        memory.size("memory", value)


def test_what_is_free(monkeypatch, tmp_path):
    free = memory.available()
    assert free >= 0
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text(f"{5 * 2**30}\n")
    (tmp_path / "memory.current").write_text(f"{3 * 2**30}\n")
    assert memory.available() <= 2**30
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() >= 0


def test_who_is_killed_is_said_to_have_run_out_of_memory():
    (huge, *_) = huge_cases("float32")
    killed = types.SimpleNamespace(crash=True, text=f"it ended its process: {sections.KILLED}")
    finding = sections.Finding("returns", killed.text, crash=True)
    assert "killed, as where memory runs out" in sections._explained(huge, finding).text
    other = sections.Finding("returns", "it ended its process: exit status -11", crash=True)
    assert sections._explained(huge, other) is other


@pytest.fixture(scope="module")
def above_2_31():
    """A weight of more than 2**31 elements of one byte."""
    (huge,) = (huge for huge in huge_cases("uint8") if huge.array == "weight" and "2**31 elements" in huge.passed)
    if memory.available() < huge.bytes:
        pytest.skip(f"needs {huge.bytes / 2**30:.1f} GiB of memory")
    return huge


@pytest.mark.parametrize("wraps", [False, True])
def test_the_real_limit(above_2_31, wraps):
    """Offsets in int32 would be negative from there on; here they begin anew."""

    def product(input, weight, *_):
        x, filters = input.reshape(-1), weight.reshape(len(weight), -1)
        last = 2**31 // filters.shape[1] if wraps else len(filters)
        sums = np.einsum("kc,c->k", filters, x, dtype=np.int32)
        sums[last:] = sums[: len(sums) - last]
        return sums.reshape(1, -1, 1, 1)

    examination = examine(product, above_2_31)
    assert bool(examination.findings) is wraps
