"""The picture of a comparison: a map of the worst channel and a histogram."""

import numpy as np
import pytest
from cases import case_of

from refconv import Case
from refconv.cases.fills import operands


@pytest.mark.parametrize("dtype", ["float32", "float16", "complex64", "int8"])
@pytest.mark.parametrize("spoilt", [np.nan, 100, None])
def test_plot(dtype, spoilt):
    """A map of the worst channel, marked where it is worst, and a histogram."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    x, w, _ = operands("integers", (2, 3, 6, 7), (4, 3, 3, 3), dtype=dtype)
    case = Case(input=x, weight=w)
    out = case.expected()
    if spoilt is not None:
        out[1, 2, 3, 4] = 77 if dtype == "int8" else spoilt
    comparison = case.check(out)
    figure = comparison.plot()
    FigureCanvasAgg(figure).draw()
    image, histogram = figure.axes[:2]
    assert comparison.verdict in figure.get_suptitle()
    assert histogram.patches
    if spoilt is not None:
        assert image.get_title() == "output[1, 2]"
        assert image.lines[0].get_xydata().tolist() == [[4, 3]]


def test_nothing_to_plot():
    with pytest.raises(ValueError, match="shape"):
        case_of("normal", 4).check(np.zeros(3, "float32")).plot()
