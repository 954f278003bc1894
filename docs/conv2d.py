# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # conv2d from the ground up
#
# For those who know `torch.nn.Conv2d` by name and want to see what each of its
# parameters does. Every layer is built twice, by `refconv.nn` and by `torch.nn`,
# and every number is compared: a cell whose assertion fails stops this page.
#
# This page is a script as well (`python docs/conv2d.py` writes the figures into the
# folder `conv2d-figures`), and a notebook (`jupytext --to ipynb --output walk.ipynb
# docs/conv2d.py`, or open the file in Jupyter with jupytext installed). It needs
# refconv, torch, matplotlib and scikit-learn.

# %%
import builtins
import io
import itertools
import os
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import refconv
from refconv.nn import Conv2d

rng = np.random.default_rng(0)
numbers_of_figures = itertools.count(1)


def show(figure: Figure) -> None:
    """Show a figure: in a notebook below its cell, from a script in a file."""
    png = io.BytesIO()
    figure.savefig(png, bbox_inches="tight")
    if hasattr(builtins, "__IPYTHON__"):
        from IPython.display import Image, display

        display(Image(png.getvalue()))
    else:
        path = Path("conv2d-figures") / f"{next(numbers_of_figures):02}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png.getvalue())
        print("figure:", path)


# %% [markdown]
# ## One window
#
# A convolution lays a small array, the *kernel*, over every place of an image where
# it fits. At each place the numbers that lie over each other are multiplied, and
# the products are added: one sum, one output. (Mathematicians turn the kernel round
# first. Deep learning does not, and calls that a convolution all the same.)

# %%
image = rng.integers(0, 10, (5, 5)).astype("float32")
kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], "float32")  # Sobel's

output = np.zeros((3, 3), "float32")
for p, q in np.ndindex(output.shape):
    output[p, q] = (image[p : p + 3, q : q + 3] * kernel).sum()


# %% tags=["hide-input"]
def draw(panel, numbers, title, *, mark=(), center=0.0, color="black"):
    """Draw an array as colored squares with its numbers, NaN as nothing.

    `mark` has boxes: first row, first column, height, width.
    """
    most = np.nanmax(np.abs(numbers - center)) or 1
    panel.imshow(
        numbers, cmap="RdBu_r", vmin=center - 1.6 * most, vmax=center + 1.6 * most
    )
    for (row, column), number in np.ndenumerate(numbers):
        text = "" if np.isnan(number) else f"{number:g}"
        panel.text(column, row, text, ha="center", va="center", fontsize=8)
    for row, column, height, width in mark:
        box = {"xy": (column - 0.5, row - 0.5), "width": width, "height": height}
        panel.add_patch(Rectangle(**box, fill=False, edgecolor=color, linewidth=2))
    panel.set(title=title, xticks=[], yticks=[])


figure = Figure(figsize=(9, 3), layout="constrained")
for panel, (numbers, title, mark) in zip(
    figure.subplots(1, 3, width_ratios=(5, 3, 3)),
    [
        (image, "image, and the window of output (1, 2)", [(1, 2, 3, 3)]),
        (kernel, "kernel", []),
        (output, "output", [(1, 2, 1, 1)]),
    ],
    strict=True,
):
    draw(panel, numbers, title, mark=mark)
show(figure)

# %% [markdown]
# Real images come in batches and have channels. In refconv as in torch an input is
# `(N, C, H, W)`: images, channels, rows, columns; a weight is `(out_channels,
# in_channels // groups, R, S)`. The functions take the same arguments.

# %%
x, w = image[np.newaxis, np.newaxis], kernel[np.newaxis, np.newaxis]

ours = refconv.conv2d(x, w)
theirs = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w))
print("refconv", ours.shape, ours[0, 0].tolist())
print("torch  ", tuple(theirs.shape), theirs[0, 0].tolist())
assert np.array_equal(ours, theirs)
assert np.array_equal(ours[0, 0], output)

# %% [markdown]
# ## The layer
#
# A layer keeps its weight and its bias, drawn from the same distribution as
# torch's. The helper `beside_torch` below puts small whole numbers there, so that
# all sums are exact and the two libraries must agree to the last bit; it prints
# both layers, and what becomes of the shape.


# %%
def whole(layer):
    """The layer with whole numbers from -3 to 3 for parameters."""
    layer.weight = rng.integers(-3, 4, layer.weight.shape).astype(
        layer.weight.dtype
    )
    if layer.bias is not None:
        layer.bias = rng.integers(-3, 4, layer.bias.shape).astype(layer.bias.dtype)
    return layer


def beside_torch(layer, x):
    """refconv's output, once the layer and every number are as torch's."""
    module = layer.to_torch()
    ours, theirs = layer(x), module(torch.from_numpy(x)).detach().numpy()
    for library, made, y in (("refconv", layer, ours), ("torch", module, theirs)):
        print(f"{library:<8}{made}")
        print(f"        {x.shape} -> {y.shape}, weight {tuple(made.weight.shape)}")
    assert repr(layer) == repr(module)
    assert layer.weight.shape == tuple(module.weight.shape)
    assert np.array_equal(ours, theirs)
    return ours


def whole_images(*shape):
    """Images of whole numbers from -9 to 9."""
    return rng.integers(-9, 10, shape).astype("float32")


y = beside_torch(whole(Conv2d(1, 1, 3)), x)

# %% [markdown]
# `in_channels` and `out_channels` come first. Each output channel, or *filter*, has
# a kernel for each input channel: its outputs are the sums over all of them.

# %%
y = beside_torch(
    whole(Conv2d(in_channels=3, out_channels=8, kernel_size=3)),
    whole_images(2, 3, 12, 12),
)

# %% [markdown]
# ## kernel_size
#
# An integer stands for a square; a pair is `(rows, columns)`.

# %%
x = whole_images(1, 2, 12, 12)
for kernel_size in (1, 3, (3, 3), (1, 5), (5, 2)):
    y = beside_torch(whole(Conv2d(2, 4, kernel_size)), x)

# %% [markdown]
# ## stride
#
# The step from one window to the next. A larger stride leaves windows out: the
# output gets smaller. An integer is for both axes, a pair is `(down, to the
# right)`.


# %% tags=["hide-input"]
def places(stride, dilation, size=7, kernel=3):
    """The windows' first rows and columns along both axes."""
    return [
        range(0, size - d * (kernel - 1), s)
        for s, d in zip(stride, dilation, strict=True)
    ]


figure = Figure(figsize=(9, 3.2), layout="constrained")
for panel, stride in zip(
    figure.subplots(1, 3), [(1, 1), (2, 2), (2, 1)], strict=True
):
    rows, columns = places(stride, (1, 1))
    centers = np.full((7, 7), np.nan)
    for number, (row, column) in enumerate(itertools.product(rows, columns)):
        centers[row + 1, column + 1] = number + 1
    draw(panel, centers, f"stride={stride}: {len(rows)} x {len(columns)} outputs")
    panel.set_xlabel("the number of a window stands at its center", fontsize=8)
show(figure)

# %%
x = whole_images(1, 1, 7, 7)
for stride in (1, 2, (2, 1)):
    y = beside_torch(whole(Conv2d(1, 1, 3, stride=stride)), x)
    assert y.shape[2:] == tuple(
        map(len, places(np.broadcast_to(stride, 2), (1, 1)))
    )

# %% [markdown]
# ## padding
#
# Rows and columns added around the image before the windows are laid, so that the
# kernel can be centered on the edge too. `"valid"` is no padding; `"same"` is as
# much as makes the output as large as the input (for stride 1). A pair is `(above
# and below, left and right)`. refconv also takes four numbers, `((top, bottom),
# (left, right))`; torch's layers do not, so there the padding is done by
# `torch.nn.functional.pad`. The box is the image.

# %% tags=["hide-input"]
x = whole_images(1, 1, 4, 5)

SIDES = {
    "0": ((0, 0), (0, 0)),
    "1": ((1, 1), (1, 1)),
    "(2, 1)": ((2, 2), (1, 1)),
    "((0, 2), (1, 0))": ((0, 2), (1, 0)),
}
figure = Figure(figsize=(10, 3), layout="constrained")
for panel, (text, sides) in zip(figure.subplots(1, 4), SIDES.items(), strict=True):
    (top, bottom), (left, right) = sides
    draw(
        panel,
        np.pad(x[0, 0], sides),
        f"padding={text}",
        mark=[(top, left, *x.shape[2:])],
    )
    places_down, places_across = 4 + top + bottom - 2, 5 + left + right - 2
    panel.set_xlabel(
        f"a 3x3 kernel has {places_down} x {places_across} outputs", fontsize=8
    )
    assert refconv.conv2d(x, w, padding=sides).shape[2:] == (
        places_down,
        places_across,
    )
show(figure)

# %%
for padding in (0, 1, (2, 1), "valid", "same"):
    y = beside_torch(whole(Conv2d(1, 1, 3, padding=padding)), x)

layer = whole(Conv2d(1, 1, 3, padding=((0, 2), (1, 0))))
padded = torch.nn.functional.pad(
    torch.from_numpy(x), (1, 0, 0, 2)
)  # torch: left, right, top, bottom
theirs = torch.nn.functional.conv2d(
    padded, torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
)
assert np.array_equal(layer(x), theirs)

# %% [markdown]
# ## padding_mode
#
# What the added rows and columns hold: zeros, the image mirrored at its edge, its
# edge repeated, or the image repeated as if it went round. The figure pads a 3x3
# image by two; the box is the image.

# %% tags=["hide-input"]
MODES = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}  # torch's names, NumPy's

small = np.arange(1, 10, dtype="float32").reshape(3, 3)
figure = Figure(figsize=(10, 3), layout="constrained")
for panel, (mode, numpys) in zip(figure.subplots(1, 4), MODES.items(), strict=True):
    draw(
        panel,
        np.pad(small, 2, numpys),
        mode,
        mark=[(2, 2, 3, 3)],
        center=5.0 if mode != "zeros" else 0.0,
    )
show(figure)

# %%
for mode, numpys in MODES.items():
    layer = whole(Conv2d(1, 2, 3, padding=2, padding_mode=mode))
    y = beside_torch(layer, small[np.newaxis, np.newaxis])
    by_hand = np.pad(small, 2, numpys)[np.newaxis, np.newaxis]
    assert np.array_equal(y, refconv.conv2d(by_hand, layer.weight, layer.bias))

# %% [markdown]
# ## dilation
#
# The step from one element of the kernel to the next. A dilated kernel sees a
# larger part of the image with the same number of weights: `dilation * (kernel_size
# - 1) + 1` rows or columns.

# %% tags=["hide-input"]
figure = Figure(figsize=(9, 3.2), layout="constrained")
for panel, dilation in zip(
    figure.subplots(1, 3), [(1, 1), (2, 2), (1, 3)], strict=True
):
    taps = np.full((7, 7), np.nan)
    for number, (r, s) in enumerate(np.ndindex(3, 3)):
        taps[r * dilation[0], s * dilation[1]] = number + 1
    extent = [d * 2 + 1 for d in dilation]
    draw(
        panel,
        taps,
        f"dilation={dilation}: {extent[0]} x {extent[1]}",
        mark=[(0, 0, *extent)],
    )
    panel.set_xlabel("the kernel's nine elements, in its first window", fontsize=8)
show(figure)

# %%
x = whole_images(1, 1, 7, 7)
for dilation in (1, 2, (1, 3)):
    y = beside_torch(whole(Conv2d(1, 1, 3, dilation=dilation)), x)

# %% [markdown]
# ## The size of the output
#
# All of this together, along each axis:
#
# ```text
# output = (input + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
# ```
#
# where `//` rounds down: a window that no longer fits is left out.
#
# The next cell tries it, and every number of the outputs, on all combinations of
# some values, different on both axes.


# %%
def output_size(size, kernel, stride, padding, dilation):
    """The formula, for one axis."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


tried = 0
values = itertools.product((9, 10), (1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2))
for height, *options in values:
    (kernel_size, stride, padding, dilation), width = options, 11
    across = (
        kernel_size + 1,
        stride + 1,
        padding + 1,
        3 - dilation,
    )  # another value for the columns
    pairs = list(zip(options, across, strict=True))
    layer, x = whole(Conv2d(1, 1, *pairs)), whole_images(1, 1, height, width)
    theirs = layer.to_torch()(torch.from_numpy(x)).detach()
    assert layer(x).shape[2:] == (
        output_size(height, *options),
        output_size(width, *across),
    )
    assert np.array_equal(layer(x), theirs)
    tried += 1
print(tried, "combinations: the formula, refconv and torch agree")

# %% tags=["hide-input"]
CURVES = {
    "kernel 3": (3, 1, 0, 1),
    "kernel 3, padding 1": (3, 1, 1, 1),
    "kernel 3, dilation 3": (3, 1, 0, 3),
    "kernel 3, stride 2": (3, 2, 0, 1),
    "kernel 3, stride 3": (3, 3, 0, 1),
}
figure = Figure(figsize=(6, 4), layout="constrained")
panel = figure.subplots()
for title, options in CURVES.items():
    sizes = range(options[3] * (options[0] - 1) + 1, 21)
    panel.plot(
        sizes, [output_size(size, *options) for size in sizes], ".-", label=title
    )
panel.set(
    xlabel="rows of the input",
    ylabel="rows of the output",
    xticks=range(0, 21, 2),
    yticks=range(0, 21, 2),
)
panel.legend(fontsize=8)
panel.grid(alpha=0.3)
show(figure)

# %% [markdown]
# ## groups
#
# `groups` cuts the channels into parts that know nothing of each other. With
# `groups=1` every filter sees every input channel. With `groups=2` the first half
# of the filters sees the first half of the channels. With `groups=in_channels` each
# filter sees one channel: a *depthwise* convolution. More filters than channels, a
# multiple of them, give each channel several filters: the *multiplier*.

# %% tags=["hide-input"]
GROUPED = {
    "groups=1": (4, 4, 1),
    "groups=2": (4, 4, 2),
    "groups=4: depthwise": (4, 4, 4),
    "multiplier 2": (4, 8, 4),
}

figure = Figure(figsize=(10, 3.4), layout="constrained")
for panel, (title, (channels, filters, groups)) in zip(
    figure.subplots(1, 4), GROUPED.items(), strict=True
):
    layer = Conv2d(channels, filters, 3, groups=groups)
    sees = np.zeros((filters, channels))
    for k in range(filters):
        first = k // (filters // groups) * (channels // groups)
        sees[k, first : first + layer.weight.shape[1]] = 1
        # The other channels may hold anything: the filter's output stays the same.
        some, other = (whole_images(1, channels, 3, 3) for _ in range(2))
        other[:, sees[k] == 1] = some[:, sees[k] == 1]
        assert np.array_equal(layer(some)[:, k], layer(other)[:, k])
    panel.imshow(sees, cmap="Blues", vmin=0, vmax=1.6, aspect="auto")
    panel.set(
        title=title,
        xlabel="input channel",
        ylabel="filter",
        xticks=range(channels),
        yticks=range(filters),
    )
show(figure)

# %%
for channels, filters, groups in GROUPED.values():
    y = beside_torch(
        whole(Conv2d(channels, filters, 3, groups=groups)),
        whole_images(2, channels, 6, 6),
    )

# %% [markdown]
# ## bias, dtype, device, seed
#
# `bias=False` leaves out the number that is added to each filter's outputs. `dtype`
# is that of the parameters. `device` says where the layer computes, see
# `.to(device)` below. `seed` is refconv's own: the same seed, the same parameters.

# %%
x = whole_images(1, 2, 5, 5)
y = beside_torch(whole(Conv2d(2, 3, 3, bias=False)), x)
y = beside_torch(whole(Conv2d(2, 3, 3, dtype="float64")), x.astype("float64"))
assert np.array_equal(
    Conv2d(2, 3, 3, seed=1).weight, Conv2d(2, 3, 3, seed=1).weight
)

# %% [markdown]
# ## The three layers of torch's documentation
#
# [torch's page](https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html) has
# a square kernel with an equal stride; a kernel that is not square, with unequal
# strides and padding; and the same with dilation; on an input of shape (20, 16, 50,
# 100).

# %%
x = whole_images(20, 16, 50, 100)
y = beside_torch(whole(Conv2d(16, 33, 3, stride=2)), x)
y = beside_torch(whole(Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2))), x)
y = beside_torch(
    whole(Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), dilation=(3, 1))), x
)

# %% [markdown]
# ## Numbers that are not whole
#
# With the parameters that a layer is born with, sums have to be rounded. refconv
# adds up in float64 by default, torch in float32, in an order of its own: the last
# digits differ, and both are right. How much they may differ is computed for each
# output from the numbers that went into it: that is what refconv is for.

# %%
layer = Conv2d(16, 33, 3, stride=2, seed=0)
x = rng.standard_normal((20, 16, 50, 100)).astype("float32")
theirs = layer.to_torch()(torch.from_numpy(x)).detach()
case = refconv.Case(input=x, weight=layer.weight, bias=layer.bias, stride=2)
judged = case.check(theirs)
print("torch beside the exact result:", judged.verdict)
print(f"largest error: {judged.max_bound_ratio:.3f} of its bound")
assert judged.ok
assert case.check(layer(x)).ok

# %% [markdown]
# ## Handwritten digits
#
# MNIST, where torchvision is installed and the data lie in the folder `MNIST_ROOT`
# (an environment variable; `data` if it is not set); else scikit-learn's digits,
# enlarged from 8x8 to 28x28. Their gray values are rounded to steps of 1/16: with
# weights in steps of 1/256 below, every sum is exact again, and every number the
# same as torch's.


# %%
def digits():
    """Images (N, 1, 28, 28) from 0 to 1, their labels, and where they come from."""
    try:
        from torchvision.datasets import MNIST

        data = MNIST(os.environ.get("MNIST_ROOT", "data"), train=False)
        return (
            data.data.numpy()[:, np.newaxis] / 255,
            data.targets.numpy(),
            "MNIST, from torchvision",
        )
    except (
        ImportError,
        RuntimeError,
    ) as error:  # not installed or not for this torch; or the data are not there
        reason = str(error).splitlines()[0]
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    data = load_digits()
    images = zoom(data.images, (1, 3.5, 3.5), order=1)[:, np.newaxis] / 16
    return (
        images,
        data.target,
        f"scikit-learn's digits, as torchvision's MNIST is not here: {reason}",
    )


images, labels, origin = digits()
images = (np.rint(16 * images) / 16).astype("float32")
print(origin)
print("all images:", images.shape, images.dtype)

x = images[np.flatnonzero(labels == 3)[:1]]
print("one image:", x.shape)

# %% [markdown]
# Through `Conv2d(1, 20, 5)`, the first layer of many a tutorial: one channel in,
# twenty filters of 5x5.


# %%
def in_steps(layer):
    """The layer with its parameters rounded to steps of 1/256."""
    layer.weight, layer.bias = (
        np.rint(256 * numbers) / 256 for numbers in (layer.weight, layer.bias)
    )
    return layer


layer = in_steps(Conv2d(1, 20, 5, seed=0))
y = beside_torch(layer, x)
print("from", x.shape, "by", layer.weight.shape, "to", y.shape)

# %% [markdown]
# A layer of three 3x3 filters is small enough to look at whole. Printed, it says
# what it was made with:

# %%
layer = in_steps(Conv2d(1, 3, 3, seed=0))
y = beside_torch(layer, x)
layer

# %% [markdown]
# Its weight has the shape (3, 1, 3, 3): three filters, each for one channel, each
# 3x3. refconv's weight is a NumPy array and can be used as one. torch's is a
# `Parameter`, part of the graph that gradients are computed from; NumPy knows no
# gradients, so torch asks for `detach()` first: the same memory, outside the graph.

# %%
print(layer.weight.shape)
print(layer.weight)

module = layer.to_torch()
try:
    module.weight.numpy()
except RuntimeError as error:
    print("torch:", error)
assert np.array_equal(module.weight.detach().numpy(), layer.weight)

# %% [markdown]
# `.to(device)` moves a layer, as in torch. refconv's parameters stay NumPy arrays:
# the device is where it computes, with the same bits everywhere. Without a GPU it
# says what is missing.

# %%
assert np.array_equal(layer.to("cpu")(x), y)
try:
    assert np.array_equal(layer.to("cuda")(x), y)
    print("computed on the GPU: the same bits")
except refconv.BackendUnavailable as error:
    print("no GPU here:", error)
layer = layer.to("cpu")

# %% [markdown]
# The filters, as heat maps: red is positive, blue negative, white zero.

# %%
show(layer.plot_weights())

# %% [markdown]
# And what they make of the digit: a *feature map* for each filter, as large as
# there are places for the filter. Where the image looks like the filter, the map is
# red.

# %% tags=["hide-input"]
figure = Figure(figsize=(11, 3), layout="constrained")
image_panel, *panels = figure.subplots(1, 4)
shown = image_panel.imshow(x[0, 0], cmap="gray")
image_panel.set_title(f"a {labels[labels == 3][0]}, {x.shape[2]} x {x.shape[3]}")
figure.colorbar(shown, ax=image_panel, shrink=0.8)
most = abs(y).max()
for k, panel in enumerate(panels):
    shown = panel.imshow(y[0, k], cmap="RdBu_r", vmin=-most, vmax=most)
    panel.set_title(f"feature map {k}, {y.shape[2]} x {y.shape[3]}")
figure.colorbar(shown, ax=panels, shrink=0.8)
show(figure)

# %% [markdown]
# ## Where to go from here
#
# You have a convolution of your own? `refconv verify path/to/kernel.py:conv2d`
# tries it on all of these parameters at once, and says where it is wrong: [Verify a
# kernel](verify.md). What a result may differ by, and why: [What the numbers
# mean](numerics.md).
