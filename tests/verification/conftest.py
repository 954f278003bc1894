"""What tests of campaigns share."""

import pytest

from refconv.verification import real_layers, sections


@pytest.fixture
def digits_only(monkeypatch):
    """A campaign without the documentation examples, which take seconds."""
    monkeypatch.setattr(sections, "FIXED", {sections.DIGITS: real_layers.digit_layers})
