"""Pictures of a layer's weights."""

import math
import pickle

import numpy as np
import pytest

from refconv import GeometryError, nn
from refconv.nn import plots


def panels_of(figure):
    """(filter, channel) and image of each panel in order, and the colour bars."""
    panels = [axes for axes in figure.axes if axes.get_title()]
    bars = [axes for axes in figure.axes if not axes.get_title()]
    return panels, bars


@pytest.mark.parametrize("shape", [(1, 20, 5), (3, 8, 3), (4, 6, (1, 7), 1, 0, 1, 2), (1, 1, 1)])
def test_picture_shows_every_weight(shape):
    """A panel for each filter and channel, holding exactly its weights; a colour bar and one scale for each filter."""
    layer = nn.Conv2d(*shape, seed=0)
    figure = layer.plot_weights()
    panels, bars = panels_of(figure)
    assert len(panels) == math.prod(layer.weight.shape[:2])
    assert len(bars) == layer.out_channels
    for panel, (k, c) in zip(panels, np.ndindex(layer.weight.shape[:2]), strict=True):
        assert panel.get_title() == f"filter {k}, channel {c}"
        (image,) = panel.images
        assert np.array_equal(image.get_array(), layer.weight[k, c])
        largest = float(abs(layer.weight[k]).max())
        assert image.get_clim() == (-largest, largest)
        if c == layer.weight.shape[1] - 1:
            assert image.colorbar.ax is bars[k]
    assert figure.get_suptitle() == repr(layer)


def test_picture_of_a_transposed_layer():
    """A filter for each input channel, as the weight lies."""
    layer = nn.ConvTranspose2d(2, 9, 3, groups=1, seed=0)
    panels, bars = panels_of(layer.plot_weights())
    assert (len(panels), len(bars)) == (18, 2)
    assert np.array_equal(panels[-1].images[0].get_array(), layer.weight[1, 8])


def test_picture_can_be_drawn(tmp_path):
    """Rendered without a display; no two axes overlap, none leaves the page."""
    figure = nn.Conv2d(2, 5, 3, seed=0).plot_weights()
    figure.savefig(tmp_path / "weights.png")
    assert (tmp_path / "weights.png").read_bytes().startswith(b"\x89PNG")
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert figure.bbox.count_contains(box.corners()) == 4
        assert box.count_overlaps(boxes[:i]) == 0


def test_notebook_shows_the_picture_without_pyplot():
    """A notebook asks an object for its PNG; matplotlib's own figures have one only after pyplot was used."""
    figure = nn.Conv2d(1, 3, 3, seed=0).plot_weights()
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert len(pickle.loads(pickle.dumps(figure)).axes) == len(figure.axes)  # noqa: S301 - our own


def test_few_filters_stand_side_by_side():
    """Three filters in one row, each beside its colour bar, rather than a column at the left of an empty page."""
    panels, bars = panels_of(nn.Conv2d(1, 3, 3, seed=0).plot_weights())
    assert len({round(panel.get_position().y0, 6) for panel in panels}) == 1
    for panel, bar in zip(panels, bars, strict=True):
        gap = bar.get_position().x0 - panel.get_position().x1
        assert 0 < gap < panel.get_position().width


def test_picture_of_many_says_what_is_left_out():
    """16 channels and 256 panels at most; never silently."""
    figure = nn.Conv2d(20, 33, 1).plot_weights()
    panels, bars = panels_of(figure)
    assert (len(panels), len(bars)) == (plots.MAX_PANELS, plots.MAX_PANELS // plots.MAX_CHANNELS)
    assert panels[-1].get_title() == "filter 15, channel 15"
    assert "16 of 33 filters and 16 of 20 channels: choose with filters=, channels=" in figure.get_suptitle()


def test_picture_of_the_chosen():
    """In the order asked for, even if there are many."""
    layer = nn.Conv2d(20, 33, 1, seed=0)
    figure = layer.plot_weights(filters=[32, 0], channels=range(19, -1, -1))
    panels, bars = panels_of(figure)
    assert len(bars) == 2
    expected = [f"filter {k}, channel {c}" for k in (32, 0) for c in range(19, -1, -1)]
    assert [panel.get_title() for panel in panels] == expected
    assert panels[0].images[0].get_array().item() == layer.weight[32, 19].item()
    assert "2 of 33 filters and 20 of 20 channels" in figure.get_suptitle()


@pytest.mark.parametrize(
    ("values", "largest"),
    [([0, 0], 1), ([np.nan, 2], 2), ([np.inf, -3], 3), ([-np.inf, np.nan], 1), ([1e-42, 0], 1e-42)],
)
def test_picture_of_special_values(values, largest, tmp_path):
    """Drawn without a warning; the scale is that of the finite weights."""
    layer = nn.Conv2d(1, 1, (1, 2))
    layer.weight = np.array(values, "float32").reshape(1, 1, 1, 2)
    figure = layer.plot_weights()
    figure.savefig(tmp_path / "weights.png")
    assert figure.axes[0].images[0].get_clim()[1] == np.float32(largest)


@pytest.mark.parametrize(
    ("chosen", "error", "words"),
    [
        ({"filters": [2]}, GeometryError, r"filters=\[2\].*below 2"),
        ({"filters": [-1]}, GeometryError, "filters=-1.*at least 0"),
        ({"filters": []}, GeometryError, r"filters=\[\].*at least one"),
        ({"filters": 1}, TypeError, "filters=1.*sequence"),
        ({"filters": [True]}, TypeError, "filters=True.*integer"),
        ({"filters": "0"}, TypeError, "filters='0'.*integer"),
        ({"channels": (0, 3)}, GeometryError, r"channels=\(0, 3\).*below 3"),
        ({"channels": [0.0]}, TypeError, r"channels=0\.0.*integer"),
    ],
)
def test_picture_of_what_is_not_there(chosen, error, words):
    with pytest.raises(error, match=words):
        nn.Conv2d(3, 2, 3).plot_weights(**chosen)


def test_picture_of_nothing():
    with pytest.raises(GeometryError, match="channels"):
        nn.Conv2d(0, 2, 3).plot_weights()
