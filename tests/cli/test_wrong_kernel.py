"""What `refconv verify` prints and saves of a wrong kernel, as a user runs it and as README shows it."""

import json
import subprocess
import sys

import pytest
from paths import ROOT


@pytest.fixture(scope="module")
def saved_report(tmp_path_factory):
    return tmp_path_factory.mktemp("wrong kernel") / "report.json"


@pytest.fixture(scope="module")
def of_a_wrong_kernel(saved_report):
    """What README's command does; the report is saved beside it."""
    command = [sys.executable, "-m", "refconv", "verify", "examples/wrong_kernel.py:conv2d", "--json", saved_report]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_wrong_kernel_as_a_user_runs_it(tmp_path, of_a_wrong_kernel):
    result = of_a_wrong_kernel
    assert result.returncode == 1
    assert "FAILED generated cases, float32: values" in result.stdout
    shown = tmp_path / "shown.py"
    shown.write_text(result.stdout.partition("This program shows it:\n\n")[2].rpartition("\n\n")[0])
    again = subprocess.run([sys.executable, shown], cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "AssertionError: wrong: conv2d(" in again.stderr


def test_readme_shows_what_the_command_prints(of_a_wrong_kernel):
    """Line by line; ... stands for what is left out."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = (
        readme.partition("$ refconv verify examples/wrong_kernel.py:conv2d\n")[2].split("```text\n")[1].split("```")[0]
    )
    lines = iter(of_a_wrong_kernel.stdout.splitlines())
    for line in shown.splitlines():
        begun = line.removesuffix("...").rstrip()
        assert any(other.startswith(begun) if line != begun else other.rstrip() == begun for other in lines), line


def test_the_report_of_a_wrong_kernel_has_its_order(of_a_wrong_kernel):
    """Verdict, failures, the table, properties, three lines of coverage, and the verdict again."""
    parts = [
        "examples/wrong_kernel.py:conv2d: FAILED, 1043 cases judged\n", "\nFAILED generated cases, float32: values\n",
        "\nbehaves like stride ignored for 1x1 kernels", "\nThis program shows it:\n", "\n section ", "\n property ",
        "\ngenerated cases by class: ", "\npairs ", "\nexamples/wrong_kernel.py:conv2d: FAILED, 1043 cases judged\n",
    ]  # fmt: skip
    places = [of_a_wrong_kernel.stdout.find(part) for part in parts]
    assert places[0] == 0
    assert sorted(places[:-1]) == places[:-1]
    assert -1 not in places
    assert of_a_wrong_kernel.stdout.endswith(parts[-1])
    coverage = of_a_wrong_kernel.stdout[places[-3] :].strip().splitlines()
    assert len(coverage) <= 4  # with the verdict
    first = next(line for line in of_a_wrong_kernel.stderr.splitlines() if "fails" in line)
    assert first.startswith("generated cases, float32: values fails: wrong: conv2d(")


SCHEMA = {
    "refconv": str, "ok": bool, "op": str, "target": str, "seed": int, "model": str, "deterministic": bool,
    "seconds": float, "n_cases": int, "n_unsupported": int, "notes": list, "faults": list, "coverage": dict,
    "arrange": list, "sizes": dict, "reach": str, "ended_early": (str, type(None)), "results": list,
    "interactions": (dict, type(None)),
}  # fmt: skip
OF_RESULT = {
    "section": str, "dtype": str, "n_cases": int, "n_unsupported": int, "max_bound_ratio": (float, type(None)),
    "max_ulp": int, "verdict": str, "skipped": str, "ended_early": str, "properties": dict, "failures": list,
}  # fmt: skip
OF_FAILURE = {
    "property": str, "dtype": str, "text": str, "snippet": str, "example": str, "expected": str, "cause": str,
    "n_cases": int, "case": str, "diagnosis": (dict, type(None)), "recipe": (dict, type(None)), "way": str,
    "run": (int, type(None)),
}  # fmt: skip


def is_of(schema, content):
    """Whether an object has these fields, of these types, and no others but flags of what is not finite."""
    flags = {name for name in content if name.endswith("_not_finite")}
    return content.keys() - flags == schema.keys() and all(isinstance(content[name], schema[name]) for name in schema)


@pytest.mark.usefixtures("of_a_wrong_kernel")
def test_the_saved_report_has_its_schema(saved_report):
    content = json.loads(saved_report.read_text(encoding="utf-8"))
    assert is_of(SCHEMA, content)
    assert content["results"]
    for result in content["results"]:
        assert is_of(OF_RESULT, result)
        assert (result["max_bound_ratio"] is None) is ("max_bound_ratio_not_finite" in result)
    (failure,) = (failure for result in content["results"][:1] for failure in result["failures"])
    assert is_of(OF_FAILURE, failure)
    assert failure["diagnosis"]["mutant"] == "stride-ignored-if-pointwise"
    assert failure["n_cases"] > 50
    assert content["sizes"]["images"] > 2**16
