"""Layers on real images: torch's documentation examples and handwritten digits."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from campaigns import verify

import refconv
from refconv.verification import real_layers


def test_digits_are_real_and_some_of_each():
    images = real_layers.digit_images("float32")
    assert images.shape == (20, 1, 1, 28, 28)
    assert images.min() == 0
    assert images.max() == 1
    assert len({image.tobytes() for image in images}) == 20
    integers = real_layers.digit_images("int8")
    assert set(np.unique(integers)) <= set(range(real_layers.LARGEST_PIXEL + 1))


@pytest.mark.usefixtures("digits_only")
def test_without_images_the_section_is_skipped_visibly(monkeypatch):
    monkeypatch.setattr(real_layers, "find_spec", lambda _: None)
    monkeypatch.setattr(real_layers, "digit_images", real_layers.digit_images.__wrapped__)
    report = verify(refconv.conv2d, cases=20)
    assert report.ok
    (skipped,) = [result for result in report.results if result.verdict == "skipped"]
    assert skipped.section == "handwritten digits"
    assert "install scikit-learn" in skipped.skipped
    assert skipped.n_cases == 0


@pytest.mark.parametrize("present", [True, False])
def test_mnist_where_it_is_present(monkeypatch, tmp_path, present):
    """A stand-in for torchvision, which finds its files only where MNIST_ROOT points."""

    class Stub:
        def __init__(self, root, train, download):
            assert not train
            assert not download
            if not (Path(root) / "MNIST").exists():
                raise RuntimeError("Dataset not found.")
            self.data = torch.full((30, 28, 28), 255, dtype=torch.uint8)
            self.targets = torch.arange(30) % 10

    for name in ("torchvision", "torchvision.datasets"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["torchvision.datasets"].MNIST = Stub
    monkeypatch.setattr(real_layers, "find_spec", lambda name: name)
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    if present:
        (tmp_path / "MNIST").mkdir()
    images = real_layers.digit_images.__wrapped__("float32")
    assert images.shape == (20, 1, 1, 28, 28)
    assert (images == 1).all() == present


def test_a_torchvision_that_does_not_import_is_as_good_as_none(tmp_path, monkeypatch):
    """As where it was made for another torch: scikit-learn's digits are taken."""
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('made for another torch')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    assert real_layers._mnist() is None
    assert real_layers.digit_images.__wrapped__("float32").shape == (20, 1, 1, 28, 28)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_documentation_examples_are_torchs(dtype):
    shapes = [
        torch.nn.Conv2d(16, 33, 3, stride=2),
        torch.nn.Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2)),
        torch.nn.Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1)),
    ]
    for module, source in zip(shapes, real_layers.documentation_examples(dtype, seed=0), strict=True):
        case = source.case()
        assert case.input.shape == (20, 16, 50, 100)
        assert case.input.dtype == dtype
        assert case.weight.shape == module.weight.shape
        assert case.arguments()[3:] == (module.stride, module.padding, module.dilation, module.groups)


@pytest.mark.usefixtures("digits_only")
@pytest.mark.parametrize("seed", range(8))
def test_every_further_property_can_be_asked_of_a_digit(seed):
    """The seed of a case chooses which one is looked at."""
    assert verify(refconv.conv2d, cases=8, seed=seed, supports={"deterministic": True}).ok
