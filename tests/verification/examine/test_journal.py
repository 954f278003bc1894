"""Journals: only the campaign that wrote one goes on from it."""

import json
import re

import pytest

from refconv.verification.examine import journal


def test_a_journal_of_another_version_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "journal"
    with monkeypatch.context() as patch:
        patch.setattr(journal, "__version__", "0.0.1")
        with journal.Journal(path, "a campaign"):
            pass
    assert json.loads(path.read_text())["refconv"] == "0.0.1"
    with pytest.raises(ValueError, match=f"resume={re.escape(repr(str(path)))}: .*version"):
        journal.Journal(path, "a campaign").__enter__()
