"""The judge's corpus: nothing sound is rejected under its own model, and no fault passes as a direct float32 sum."""

import pytest
import torch
from detection import DEFAULT, FILLS, TERMS, caught, claim, corpus, detected, samples, tally
from hypothesis import settings
from kernels.faults import FAULTS
from kernels.implementations import SOUND
from kernels.winograd import winograd_supports

pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")


@pytest.fixture(autouse=True)
def _one_thread():
    """For outputs of this size a second one only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_corpus_is_wide():
    """All fills, and sums from one term to thousands; Winograd's part has only what its algorithm takes."""
    general, winograd = corpus(), corpus(winograd=True)
    assert {sample.fill for sample in general} == {sample.fill for sample in winograd} == set(FILLS)
    terms = [sample.case.geometry.terms for sample in general]
    assert min(terms) == 1
    assert max(terms) > 4000
    assert all(winograd_supports(sample.case) for sample in winograd)


@pytest.mark.parametrize("name", SOUND)
def test_nothing_sound_is_rejected(name):
    """Under the model that it claims, in at least 500 cases: a fourth of those that docs/detection.md counts.

    With HYPOTHESIS_PROFILE=thorough in all of them, at least 2,000.
    """
    assert all(SOUND[name].supports(sample.case) for sample in samples(name))
    every = 1 if settings.get_current_profile_name() == "thorough" else 4
    counts = tally(name, every)
    assert counts.verdicts.total() >= 2000 // every
    first = "\n".join(str(comparison) for _, comparison in counts.rejected[:3])
    assert not counts.rejected, f"{len(counts.rejected)} rejected, among them:\n{first}"


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("fault", FAULTS)
def test_default_fills_give_every_fault_away(fault, terms):
    """Claimed as a direct float32 sum, by one of them at least."""
    assert any(detected(fault, claim(terms, fill, 0)) for fill in DEFAULT)


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("fault", ["one element unwritten", "one NaN"])
def test_no_model_accepts_everything(name, fault):
    """Not even the loosest, on any geometry."""
    assert caught(name, fault, every=8) == "100%"
