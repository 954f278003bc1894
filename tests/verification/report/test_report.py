"""Reports: what they conclude, and that terminal, JSON file and page say the same."""

import dataclasses
import html.parser
import io
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import refconv
from refconv.cases.recipe import Recipe
from refconv.core.geometry import convolution
from refconv.verification.report import saved_failures
from refconv.verification.report.report import Report
from refconv.verification.report.results import Failure, Result, Tally

NASTY = "</pre><script>alert(1)</script> & \"quoted\" 'text'"
DTYPES = ("float16", "float32", "float64")
PROPERTIES = ("returns", "values", "nothing outside written", "errors")


class Covered:
    """Stands for what was counted of a campaign's cases."""

    pairs = (1999, 2000)
    triples = (5, 5)

    def missing_pairs(self):
        return [(("stride", "above kernel"), ("memory", "negative")), *self.refused_pairs()]

    def refused_pairs(self):
        return [(("fill", "special"), ("batch", "0"))]

    def as_dict(self):
        shares = [("stride", "dilation", 9, 9), ("stride", "memory", 7, 8), ("dilation", "memory", 0, 0)]
        return {
            "pairs": list(self.pairs),
            "triples": list(self.triples),
            "shares": [{"factors": [a, b], "covered": done, "possible": all_} for a, b, done, all_ in shares],
        }


class Diagnosis:
    """Stands for what a candidate behaves like."""

    kind, mutant = "axis_mixup", "dilation-of-the-height"

    def __str__(self):
        return "behaves like dilation of the height used for the width"


def case(size=(3, 4)):
    x = np.arange(size[0] * size[1], dtype="float32").reshape(1, 1, *size)
    return refconv.Case(input=x, weight=np.ones((1, 1, 2, 2), "float32"))


def failure(**fields):
    """A failure with an output to compare."""
    given = fields.pop("case", case())
    comparison = given.check(given.expected() + 1)
    basic = Failure("values", "generated cases", "float32", given, comparison, str(comparison), "import refconv\n")
    return dataclasses.replace(basic, **fields)


def report(*failures, **fields):
    """A report with failures in its first result."""
    tallies = {"returns": Tally(20), "values": Tally(20, len(failures)), "errors": Tally(skipped="not claimed")}
    results = (
        Result("generated cases", "float32", 20, 3, 0.5, 2, failures, tallies=tallies),
        Result("handwritten digits", "float32", skipped="no digits"),
    )
    return Report(results, {"stride": 12, "bias": 3}, **fields)


def full(**fields):
    """A report with all there can be."""
    failures = (
        failure(diagnosis=Diagnosis(), example="@example(recipe)"),
        failure(property="returns", comparison=None, text=NASTY, snippet=NASTY, expected="issue 3"),
    )
    given = {"interactions": Covered(), "notes": (NASTY,), "target": "kernels:conv2d", "seconds": 3.0, "seed": 7}
    return report(*failures, **{**given, **fields})


# In a word, in a paragraph, in a notebook.


def test_a_report_shows_itself():
    found = full(sizes={"images": 65_537, "channels": 8})
    assert repr(found) == "<Report of kernels:conv2d: FAILED, 20 cases judged>"
    assert str(found).startswith(
        "kernels:conv2d: FAILED, 20 cases judged in 3.0 s, seed 7. what fails: values of float32"
    )
    assert "\n" not in str(found)
    assert repr(found.failures[0]).startswith("<Failure of values of float32 (1 case: ")
    page = found._repr_html_()
    assert "<script" not in page.lower()
    assert "FAILED, 20 cases judged" in page
    assert page.count("<details>") == 2
    good = report(sizes={"images": 65_537, "channels": 8}, target="kernels:conv2d")
    assert "The largest sizes judged: images 65,537, channels 8. Another seed tries other" in str(good)


# Conclusions.


def test_what_was_expected_to_fail_is_no_failure():
    assert report().ok
    assert not report(failure()).ok
    known = report(failure(expected="accumulates in float16"))
    assert known.ok
    assert known.results[0].verdict == "expected"
    assert len(known.failures) == 1
    both = report(failure(expected="accumulates in float16"), failure())
    assert not both.ok
    assert both.results[0].verdict == "failed"


def test_a_section_must_judge_something_or_say_why_not():
    nothing = Result("generated cases", "float32", n_unsupported=9)
    assert nothing.verdict == "nothing judged"
    assert not Report((nothing,), {}).ok
    skipped = dataclasses.replace(nothing, skipped="no data")
    assert Report((*report().results, skipped), {}).ok
    assert not Report((skipped,), {}).ok
    assert not Report((), {}).ok


def test_a_failure_says_all():
    text = str(failure(expected="issue 3", diagnosis=Diagnosis()))
    for part in ("generated cases, float32: values", "issue 3", "elements outside", "behaves like dilation"):
        assert part in text
    assert str(case()) in str(failure(comparison=None, text="Traceback"))


TALLIES = st.builds(Tally, st.integers(1, 50), st.integers(0, 9)) | st.builds(
    Tally, skipped=st.sampled_from(("not claimed", "no such case"))
)


@given(st.lists(st.dictionaries(st.sampled_from(PROPERTIES), TALLIES), min_size=1, max_size=4))
def test_tallies_add_up(tallies):
    results = tuple(Result(f"section {n}", DTYPES[n % 3], 1, tallies=tallied) for n, tallied in enumerate(tallies))
    by_property = Report(results, {}).properties
    for name in PROPERTIES:
        given = [tallied[name] for tallied in tallies if name in tallied]
        assert (name in by_property) == bool(given)
        total = sum(by_property.get(name, {}).values(), Tally())
        assert total.checked == sum(tally.checked for tally in given)
        assert total.failed == sum(tally.failed for tally in given)
        # What was checked anywhere was not skipped, and what was skipped says why.
        assert bool(total.skipped) == bool(given and not total.checked)


# The terminal.


def printed(*things):
    console = Console(width=80, record=True, file=io.StringIO())
    for thing in things:
        console.print(thing)
    return console.export_text()


def test_the_terminal_is_narrow():
    tallies = {name: Tally(10**6, 10**6) for name in PROPERTIES} | {"views": Tally(skipped="no such case was judged")}
    results = [
        Result("documentation examples", dtype, 10**6, 10**5, np.inf, 2**62, tallies=tallies) for dtype in DTYPES
    ]
    report = Report(tuple(results), {})
    text = printed(report.table(), report.property_table())
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for part in ("4.6e+18", "3000000", "float16, float32, float64", "not checked: no such case was judged"):
        assert part in text


def test_properties_that_were_not_checked_are_named_with_the_reason():
    text = printed(report().property_table())
    assert "not claimed" in text
    assert "20" in text


def test_coverage_is_not_rounded_up():
    classes, numbers, missing = full().coverage_lines()
    assert classes == "generated cases by class: stride 12, bias 3"
    assert numbers == "pairs 1,999 of 2,000 (99%), triples 5 of at most 5 (100%)"
    assert missing == (
        "pairs not covered: 1 that the candidate refuses (fill special, batch 0), "
        "1 others (stride above kernel, memory negative)"
    )
    assert Report((), {}).coverage_lines() == []


# JSON.


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def test_the_file_holds_what_programs_need(tmp_path):
    path = tmp_path / "report.json"
    report = full()
    report.to_json(path)
    content = json.loads(path.read_text(), parse_constant=refuse)
    for name in ("ok", "op", "target", "seed", "model", "seconds", "n_cases", "n_unsupported", "coverage"):
        assert content[name] == getattr(report, name)
    assert content["notes"] == [NASTY]
    assert content["interactions"] == Covered().as_dict()
    first = content["results"][0]
    assert first["properties"]["errors"] == {"checked": 0, "failed": 0, "skipped": "not claimed"}
    assert [failure["property"] for failure in first["failures"]] == ["values", "returns"]
    assert first["failures"][0]["diagnosis"] == {
        "text": str(Diagnosis()),
        "kind": "axis_mixup",
        "mutant": "dilation-of-the-height",
    }
    assert first["failures"][1]["diagnosis"] is None
    for kept, meant in zip(first["failures"], report.failures, strict=True):
        for name in ("property", "dtype", "text", "snippet", "example", "expected"):
            assert kept[name] == getattr(meant, name)


@given(ratio=st.floats(), coverage=st.dictionaries(st.text(), st.integers()))
def test_the_file_is_json_whatever_the_numbers(tmp_path_factory, ratio, coverage):
    path = tmp_path_factory.getbasetemp() / "any.json"
    Report((Result("generated cases", "float32", 1, max_bound_ratio=ratio),), coverage).to_json(path)
    content = json.loads(path.read_text(), parse_constant=refuse)
    assert content["coverage"] == coverage
    result = content["results"][0]
    assert result["max_bound_ratio"] == (ratio if np.isfinite(ratio) else None)
    assert result.get("max_bound_ratio_not_finite", "") == ("" if np.isfinite(ratio) else str(ratio))


def recipes():
    geometry = convolution((1, 1, 3, 3), (1, 1, 1, 2), None, 1, ((0, 1), (0, 0)), 1, 1, "zeros")
    yield Recipe(geometry=geometry, padding=((0, 1), (0, 0)), seed=2**63 - 1)
    yield Recipe(geometry=geometry, padding=((0, 1), (0, 0)), bias=True, dtype="float64", fill="normal")


def test_failures_are_read_back(tmp_path):
    path = tmp_path / "report.json"
    given = [failure(recipe=recipe, dtype=recipe.dtype) for recipe in recipes()] + [failure(property="errors")]
    report(*given).to_json(path)
    loaded = saved_failures.load(path)
    assert [failure.recipe for failure in loaded] == [failure.recipe for failure in given]
    assert [failure.property for failure in loaded] == ["values", "values", "errors"]
    assert [failure.dtype for failure in loaded] == ["float32", "float64", "float32"]
    assert {failure.op for failure in loaded} == {"conv2d"}
    assert loaded[0].case == str(given[0].case)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a JSON file"),
        ("{", "must be a JSON file"),
        (b"\xff", "must be a JSON file"),
        ("[]", "must be a report"),
        ("3", "must be a report"),
        ("null", "must be a report"),
        ("{}", "has no 'op'"),
        ('{"op": "conv2d"}', "has no 'results'"),
        ('{"op": "conv2d", "results": [{}]}', "has no 'failures'"),
        ('{"op": "conv2d", "results": 3}', "must be a report"),
        ('{"op": "conv2d", "results": [{"failures": [{}]}]}', "has no 'recipe'"),
        ('{"op": "conv2d", "results": [{"failures": [{"recipe": 3}]}]}', "must be a report"),
        ('{"op": "conv2d", "results": [{"failures": [{"recipe": {"geometry": {"n": 1}}}]}]}', "must be a report"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f"mine.json: {message}|mine.json: must be a report.*{message}"):
        saved_failures.load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        saved_failures.load(tmp_path / "none.json")


# The page.


class Reader(html.parser.HTMLParser):
    """Elements, text and addresses of a page; an element that is closed wrongly is an error."""

    VOID = ("meta", "img", "br", "link", "hr", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.addresses, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, _):
        self.elements.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page(tmp_path, report, **options):
    path = tmp_path / "report.html"
    report.to_html(path, **options)
    text = path.read_text(encoding="utf-8")
    return text, Reader(text)


def test_the_page_tells_everything(tmp_path):
    report = full()
    text, reader = page(tmp_path, report, environment={"numpy": "2.0", "processor": NASTY})
    assert text.startswith("<!DOCTYPE html>")
    parts = ["1 failure", "kernels:conv2d", "float32", "not claimed", "no digits", "1,999 of 2,000", "issue 3", "2.0"]
    parts += ["memory with stride: 7 of 8 pairs", "stride above kernel, memory negative", "no pair possible"]
    parts += ["Pairs not covered: 1", "Pairs that the candidate refuses: 1", "fill special, batch 0"]
    parts += [str(Diagnosis()), "@example(recipe)", *report.coverage, refconv.__version__]
    for failure in report.failures:
        parts += [failure.property, failure.text.strip(), failure.snippet.strip(), str(failure.case)]
    for part in parts:
        assert part in reader.text
    assert reader.text.count(NASTY) == 4  # a note, a text, a program and the environment: as text, not as HTML


def test_the_page_stands_alone(tmp_path):
    text, reader = page(tmp_path, full())
    assert "script" not in reader.elements
    assert "link" not in reader.elements
    for address in reader.addresses:
        assert address.startswith(("data:image/svg+xml;base64,", "#"))
    for outside in ("http:", "https:", "@import", "url("):
        assert outside not in text


def test_error_maps_are_pictures(tmp_path):
    _, reader = page(tmp_path, full())
    assert reader.elements.count("img") == 1  # the other failure has no output
    _, reader = page(tmp_path, report(failure(case=case((2, 2)))))
    assert reader.elements.count("img") == 0
    assert "No error map: the output has a single element" in reader.text
    _, reader = page(tmp_path, report(failure(comparison=case().check(np.ones(3, "float32")))))
    assert "No error map: nothing to plot" in reader.text


def test_making_a_page_leaves_matplotlib_as_it_was(tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams), "matplotlib.pyplot" in sys.modules
    page(tmp_path, full())
    assert (dict(mpl.rcParams), "matplotlib.pyplot" in sys.modules) == before


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (report(), "passed"),
        (report(failure(), failure()), "2 failures"),
        (report(failure(expected="known")), "passed, but for 1 expected failure"),
        (Report((Result("generated cases", "float32"),), {}), "not enough judged"),
        (Report((), {}), "not enough judged"),
    ],
)
def test_the_verdict(tmp_path, found, verdict):
    text, _ = page(tmp_path, found)
    badge = "passed" if not found.failures else "expected"
    assert f'<span class="badge {badge if found.ok else "failed"}">{verdict}</span>' in text


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_what_is_missing_is_named(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=rf"needs {missing}: pip install 'refconv\[report\]'"):
        report().to_html(tmp_path / "report.html")
