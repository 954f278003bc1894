"""`refconv tolerance`: the layers that it parses, and what it says of torch's default tolerances."""

import pytest
import torch

from refconv import ErrorModel, GeometryError
from refconv.cases.networks import layers
from refconv.cli import tolerance


def test_torch_defaults_are_torchs():
    for dtype, pair in tolerance.TORCH_DEFAULTS.items():
        assert torch.testing._comparison.default_tolerances(getattr(torch, dtype)) == pair


def test_advice():
    """For a layer whose sums are long the default is too tight; torch itself may miss it, but not ours."""
    row = tolerance.advise(layers("resnet50")[2], "float32")
    assert row.terms == 576
    assert row.rejects > 0.5
    assert row.unseen == 0
    assert "576 terms" in row.tolerances.reason
    half = tolerance.advise(tolerance.parsed("1,512,7,7:8,512,3,3:padding=1"), "float16", ErrorModel.direct("float16"))
    assert half.unseen == 1
    assert tolerance.advise(tolerance.parsed("1,4,7,7:8,4,3,3"), "float8_e5m2").rejects is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1,2,3",
        "1,2,3,3:1,2,3",
        "1,2,3,3:1,2,9,9",
        "1,2,3,3:1,2,1,1:steps=2",
        "1,2,3,3:1,2,1,1:stride=x",
        "1,3,3,3:1,2,1,1",
    ],
)
def test_texts_that_are_no_layers(text):
    with pytest.raises(GeometryError):
        tolerance.parsed(text)
