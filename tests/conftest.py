"""What all tests share: the Hypothesis profiles, and a campaign without its fixed sections.

`HYPOTHESIS_PROFILE` chooses: `dev` (default), `ci` (the same cases every time; default where `CI` is set), `thorough`.
"""

import os

import pytest
from hypothesis import HealthCheck, settings

# Parents are explicit: with CI set, Hypothesis makes its own derandomised profile the default one, and a profile
# registered without a parent would silently inherit that.
_BASE = settings(
    settings.get_profile("default"),
    deadline=None,  # the first call of a kernel compiles it
    suppress_health_check=[HealthCheck.too_slow],  # likewise
    derandomize=False,
    database=None,
    print_blob=True,
)
settings.register_profile("ci", parent=_BASE, derandomize=True, max_examples=50)
settings.register_profile("dev", parent=_BASE, max_examples=150)
settings.register_profile("thorough", parent=_BASE, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture
def generated_only(monkeypatch):
    """A campaign of generated cases only: no documentation examples, no handwritten digits."""
    monkeypatch.setattr("refconv.verification.sections.FIXED", {})


@pytest.fixture(autouse=True)
def faults_of_ours_are_raised(request, monkeypatch):
    """What a campaign notes as refconv's own fault fails the test, unless that is what the test is about."""

    def raised(_faults, doing, what):
        pytest.fail(f"refconv's own fault, {doing}: {what}")

    if not request.node.get_closest_marker("own_faults"):
        monkeypatch.setattr("refconv.verification.faults.Faults.note", raised)


# Their tests take a minute or two: begun last, one of these files would keep one process busy while the others idle.
LONGEST = ("test_worker", "test_gpu_elsewhere", "test_cli", "test_verify", "test_diagnosis", "test_properties")


def pytest_collection_modifyitems(items):
    """The longest files first; else the order stays."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)
