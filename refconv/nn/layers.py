"""Layers: torch's constructors, parameters and printing over the operators of refconv.

Knows the operators and the checks below them; nothing of cases and bounds. torch and matplotlib are imported
only by the methods that return something of theirs.
"""

import math
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from refconv.arrays import interop
from refconv.core import formats
from refconv.core.checks import Padding, Pair, check_channels, choice, integer, integer_sides, padding_sides, per_axis
from refconv.core.errors import GeometryError
from refconv.core.geometry import convolution
from refconv.core.padding import MODES, Sides
from refconv.core.transposed_geometry import output_padding_for, transposed
from refconv.engine.targets import check_device
from refconv.ops.convolution import conv2d
from refconv.ops.transposed import conv_transpose2d

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PANELS = 256  # more take matplotlib longer than about 5 s
MAX_CHANNELS = 16  # more side by side are too wide for a screen


class _Layer:
    """What the layers share. A subclass checks its geometry, shapes its weight, and calls its operator."""

    # The constructor's arguments, but for `bias`, that are attributes of the same name here and in torch.
    _name: ClassVar[str]  # of torch's layer, also where a subclass has another
    _arguments: ClassVar[tuple[str, ...]]
    _least_channels: ClassVar[int] = 0  # of the input: torch's convolution is content with none
    _modes: ClassVar[tuple[str, ...]] = MODES
    transposed: ClassVar[bool]

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...] | Sides
    output_padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str
    weight: np.ndarray
    bias: np.ndarray | None
    _backend = "auto"

    def _set_geometry(
        self,
        in_channels: Any,
        out_channels: Any,
        kernel_size: Any,
        stride: Any,
        dilation: Any,
        groups: Any,
        padding_mode: Any,
    ) -> None:
        """Check and keep what every layer has."""
        self.in_channels = integer("in_channels", in_channels, self._least_channels)
        self.out_channels = integer("out_channels", out_channels, 1)
        self.kernel_size = per_axis("kernel_size", kernel_size, 1)
        if len(_as_kept(kernel_size, self.kernel_size)) == 1:  # torch makes a layer that can't be called
            raise GeometryError(f"kernel_size={kernel_size!r}: must be an integer or 2 of them, not 1")
        self.stride = _as_kept(stride, per_axis("stride", stride, 1))
        self.dilation = _as_kept(dilation, per_axis("dilation", dilation, 1))
        self.groups = integer("groups", groups, 1)
        self.padding_mode = choice("padding_mode", padding_mode, self._modes)

    def _set_parameters(self, weight_shape: tuple[int, ...], bias: Any, device: Any, dtype: Any, seed: Any) -> None:
        """Draw weight and bias as torch does: kaiming_uniform(a=sqrt(5)) is this uniform distribution."""
        if not isinstance(bias, (bool, np.bool_)):
            raise TypeError(f"bias={bias!r}: must be True or False, not {type(bias).__name__}")
        float_type, generator = _float_type(dtype), _generator(seed)
        if device is not None:
            self.to(device)
        fan_in = math.prod(weight_shape[1:])
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        self.weight = generator.uniform(-bound, bound, weight_shape).astype(float_type)
        self.bias = generator.uniform(-bound, bound, self.out_channels).astype(float_type) if bias else None

    def __repr__(self) -> str:
        """As torch prints the layer: arguments that have their default are left out."""
        text = f"{self.in_channels}, {self.out_channels}"
        text += f", kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, name)
            if value != (default,) * len(value):
                text += f", {name}={value}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return f"{type(self).__name__}({text})"

    def _parameters(self, input: Any) -> tuple[Any, Any]:
        """Weight and bias, on the GPU if the input is there."""
        bias = None if self.bias is None else interop.beside(input, self.bias)
        return interop.beside(input, self.weight), bias

    def to(self, device: Any) -> Self:
        """Move the layer to a device, and return it, as torch's modules do.

        The parameters stay NumPy's arrays: the device is where the layer is computed. Inputs that live on the GPU are
        computed there anyway.

        Parameters
        ----------
        device : {"cpu", "cuda"}
            Or an object that is written so, such as a torch.device.

        Raises
        ------
        BackendUnavailable
            If there is no usable target for the device; the message says what is missing.
        GeometryError
            For a name that is no device.

        Examples
        --------
        >>> Conv2d(1, 2, 3).to("cpu")
        Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
        """
        check_device(str(device))
        self._backend = "cuda" if str(device).startswith("cuda") else "auto"
        return self

    @classmethod
    def from_torch(cls, module: Any) -> Self:
        """A layer with a copy of a torch layer's arguments and parameters.

        Parameters
        ----------
        module : torch.nn.Module
            The torch layer of the same name, of a float dtype, on the CPU.

        Raises
        ------
        TypeError
            For any other module, or dtype. Subclasses are refused: they may compute something else.
        BackendUnavailable
            For parameters on another device.

        Examples
        --------
        >>> import torch
        >>> Conv2d.from_torch(torch.nn.Conv2d(16, 33, (3, 5), padding="same", bias=False))
        Conv2d(16, 33, kernel_size=(3, 5), stride=(1, 1), padding=same, bias=False)
        """
        torch = sys.modules.get("torch")  # where it is not loaded, the module can't be one of its
        if torch is None or type(module) is not getattr(torch.nn, cls._name):
            found = f"{type(module).__module__}.{type(module).__qualname__}"
            raise TypeError(f"module is a {found}: must be a torch.nn.{cls._name} (not of a subclass)")
        weight = interop.to_numpy("module.weight", module.weight)
        if weight.dtype not in formats.FLOATS:
            supported = ", ".join(map(str, formats.FLOATS))
            raise TypeError(f"module.weight has dtype {weight.dtype}: must be one of {supported}")
        arguments = {name: getattr(module, name) for name in cls._arguments}
        layer = cls(**arguments | {"bias": module.bias is not None, "dtype": weight.dtype})
        layer.weight = weight.copy()
        if module.bias is not None:
            layer.bias = interop.to_numpy("module.bias", module.bias).copy()
        return layer

    def to_torch(self) -> Any:
        """The torch layer of the same name, with a copy of the arguments and parameters.

        Raises
        ------
        ModuleNotFoundError
            If torch is not installed.
        GeometryError
            If the two sides of an axis are padded differently, which torch's layers can't.

        Examples
        --------
        >>> Conv2d(1, 2, 3).to_torch()
        Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
        """
        torch = _import("torch", "to_torch()")
        if isinstance(self.padding[0], tuple):
            raise GeometryError(f"padding={self.padding}: torch needs the same on both sides of an axis")
        arguments = {name: getattr(self, name) for name in self._arguments}
        arguments |= {"bias": self.bias is not None}
        # On the device "meta" nothing is allocated or drawn: torch's random state stays as it is.
        module = getattr(torch.nn, self._name)(**arguments, device="meta")
        kind = torch.empty(0)
        parameters = {name: interop.like(kind, getattr(self, name).copy()) for name in module.state_dict()}
        module.load_state_dict(parameters, assign=True)
        return module

    def plot_weights(self, filters: Sequence[int] | None = None, channels: Sequence[int] | None = None) -> "Figure":
        """Heat maps of the weights: a panel for each filter and channel, a colour bar for each filter.

        Zero is white, and the scale of each filter is symmetric around it.

        Parameters
        ----------
        filters, channels : sequence of int, optional
            Which to show. By default all, but only the first ones of more than 16 channels or 256 panels;
            the title says so where something is left out.

        Returns
        -------
        matplotlib.figure.Figure
            Unknown to pyplot: `savefig` saves it, and a notebook shows it.

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed.
        GeometryError
            For a filter or channel that the layer does not have, or if there is nothing to show.

        Examples
        --------
        >>> figure = Conv2d(1, 4, 3).plot_weights()
        >>> len(figure.axes)  # four panels and their colour bars
        8
        """
        n_filters, n_channels = self.weight.shape[:2]
        shown_channels = _chosen("channels", channels, n_channels, MAX_CHANNELS)
        most = max(1, MAX_PANELS // len(shown_channels))
        shown_filters = _chosen("filters", filters, n_filters, most)
        figure = _heat_maps(self.weight, shown_filters, shown_channels)
        title = repr(self)
        if len(shown_filters) < n_filters or len(shown_channels) < n_channels:
            title += f"\n{len(shown_filters)} of {n_filters} filters"
            title += f" and {len(shown_channels)} of {n_channels} channels: choose with filters=, channels="
        figure.suptitle(title, fontsize="medium", wrap=True)
        return figure


class Conv2d(_Layer):
    """2-D convolution with parameters of its own: `torch.nn.Conv2d` computed by `refconv.conv2d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of channels of input and output.
    kernel_size, stride, dilation : int or (h, w)
        Size of the kernel, steps of the window, and steps between the elements within it.
    padding : int, (h, w), "same", "valid" or ((top, bottom), (left, right))
        Rows and columns added around the input.
    groups : int
        Number of parts into which the channels fall.
    bias : bool
        Whether a number is added to each output channel.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the padding is filled with.
    device : {"cpu", "cuda"}, optional
        See `to`.
    dtype : float dtype, optional
        A name, a NumPy or a torch dtype; float32 by default.
    seed : int or numpy.random.Generator, optional
        Where the parameters are drawn from: the same seed, the same parameters.

    Attributes
    ----------
    weight : numpy.ndarray
        (out_channels, in_channels // groups, R, S), uniform on (-b, b) where
        b = 1 / sqrt(in_channels // groups * R * S).
    bias : numpy.ndarray or None
        (out_channels,), of the same distribution.
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode
        As torch has them; `output_padding` and `transposed` too.

    Raises
    ------
    GeometryError
        A `ValueError`: arguments that no convolution has.
    TypeError
        Arguments of the wrong type, or dtypes that are not supported.
    BackendUnavailable
        A device that is not usable here.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html, whose arguments these are.

    Examples
    --------
    >>> layer = Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), seed=0)
    >>> layer
    Conv2d(16, 33, kernel_size=(3, 5), stride=(2, 1), padding=(4, 2))
    >>> layer(np.ones((20, 16, 50, 100), np.float32)).shape
    (20, 33, 28, 100)
    """

    _name = "Conv2d"
    _arguments = (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "groups",
        "padding_mode",
    )
    transposed = False

    def __init__(  # noqa: PLR0913, PLR0917 - torch's arguments
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self._set_geometry(in_channels, out_channels, kernel_size, stride, dilation, groups, padding_mode)
        sides = padding_sides(padding)
        weight_shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        # Checked as the convolution of an empty batch of the smallest images that the kernel fits on.
        steps = zip(self.kernel_size, per_axis("dilation", dilation, 1), strict=True)
        reach = ((kernel - 1) * step + 1 for kernel, step in steps)
        smallest = (0, self.in_channels, *reach)
        convolution(smallest, weight_shape, None, self.stride, sides, self.dilation, self.groups, "zeros")
        self.padding = sides if isinstance(sides, str) else _as_kept(padding, _per_axis_if_alike(sides))
        self._set_parameters(weight_shape, bias, device, dtype, seed)

    def __call__(self, input: Any) -> Any:
        """Convolution of `input` with the layer's parameters, as by `refconv.conv2d`.

        Parameters
        ----------
        input : array
            (N, in_channels, H, W) or (in_channels, H, W), of the parameters' dtype.

        Returns
        -------
        array
            Of the input's kind and dtype.

        Raises
        ------
        GeometryError, TypeError, BackendUnavailable
            As by `refconv.conv2d`.

        Examples
        --------
        >>> Conv2d(1, 2, 3, seed=0)(np.ones((1, 28, 28), np.float32)).shape
        (2, 26, 26)
        """
        weight, bias = self._parameters(input)
        return conv2d(
            input, weight, bias, self.stride, self.padding, self.dilation, self.groups,
            padding_mode=self.padding_mode, backend=self._backend,
        )  # fmt: skip


class ConvTranspose2d(_Layer):
    """2-D transposed convolution with parameters of its own: `torch.nn.ConvTranspose2d` by `refconv.conv_transpose2d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of channels of input and output.
    kernel_size, stride, dilation : int or (h, w)
        Size of the kernel, steps between the places where the output receives it, and between its elements.
    padding : int, (h, w) or ((top, bottom), (left, right))
        Rows and columns taken from the output at its edges: those that the convolution would have padded with.
    output_padding : int or (h, w)
        Rows and columns added to the output below and on the right; fewer than `stride` or `dilation`.
    groups : int
        Number of parts into which the channels fall.
    bias : bool
        Whether a number is added to each output channel.
    padding_mode : {"zeros"}
        torch has no other here.
    device : {"cpu", "cuda"}, optional
        See `to`.
    dtype : float dtype, optional
        A name, a NumPy or a torch dtype; float32 by default.
    seed : int or numpy.random.Generator, optional
        Where the parameters are drawn from: the same seed, the same parameters.

    Attributes
    ----------
    weight : numpy.ndarray
        (in_channels, out_channels // groups, R, S), uniform on (-b, b) where
        b = 1 / sqrt(out_channels // groups * R * S): torch counts the second axis, whatever it stands for.
    bias : numpy.ndarray or None
        (out_channels,), of the same distribution.
    in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, padding_mode
        As torch has them; `transposed` too.

    Raises
    ------
    GeometryError
        A `ValueError`: arguments that no transposed convolution has.
    TypeError
        Arguments of the wrong type, or dtypes that are not supported.
    BackendUnavailable
        A device that is not usable here.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.ConvTranspose2d.html, whose arguments these are.

    Examples
    --------
    >>> layer = ConvTranspose2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2), seed=0)
    >>> layer
    ConvTranspose2d(16, 33, kernel_size=(3, 5), stride=(2, 1), padding=(4, 2))
    >>> layer(np.ones((20, 16, 50, 100), np.float32)).shape
    (20, 33, 93, 100)
    """

    _name = "ConvTranspose2d"
    _arguments = (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "output_padding",
        "groups",
        "dilation",
        "padding_mode",
    )
    _least_channels = 1
    _modes = ("zeros",)
    transposed = True

    def __init__(  # noqa: PLR0913, PLR0917 - torch's arguments
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self._set_geometry(in_channels, out_channels, kernel_size, stride, dilation, groups, padding_mode)
        check_channels(self.in_channels, self.out_channels, self.groups)
        sides = integer_sides(padding)
        weight_shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        self.output_padding = _as_kept(output_padding, per_axis("output_padding", output_padding, 0))
        # Checked on one of the smallest images of which the padding leaves something.
        smallest = (1, self.in_channels, *self._smallest(sides))
        transposed(smallest, weight_shape, None, self.stride, sides, self.output_padding, self.dilation, self.groups)
        self.padding = _as_kept(padding, _per_axis_if_alike(sides))
        self._set_parameters(weight_shape, bias, device, dtype, seed)

    def _smallest(self, sides: Sides) -> tuple[int, ...]:
        """Size of the smallest image of which the padding leaves something."""
        stride, dilation = per_axis("stride", self.stride, 1), per_axis("dilation", self.dilation, 1)
        extra = per_axis("output_padding", self.output_padding, 0)
        axes = zip(self.kernel_size, stride, dilation, extra, sides, strict=True)
        # n elements give (n - 1) * step + d * (k - 1) + e + 1, of which the padding takes both its ends.
        return tuple(1 + max(0, -((d * (k - 1) + e - sum(ends)) // step)) for k, step, d, e, ends in axes)

    def __call__(self, input: Any, output_size: Sequence[int] | None = None) -> Any:
        """Transposed convolution of `input` with the layer's parameters, as by `refconv.conv_transpose2d`.

        Parameters
        ----------
        input : array
            (N, in_channels, H, W) or (in_channels, H, W), of the parameters' dtype.
        output_size : sequence of int, optional
            Size wanted of the output, (H, W) or its whole shape, of which these are the last two: one of those that a
            convolution would take to the input's. By default it is what the layer's `output_padding` makes it.

        Returns
        -------
        array
            Of the input's kind and dtype.

        Raises
        ------
        GeometryError, TypeError, BackendUnavailable
            As by `refconv.conv_transpose2d`, and for an `output_size` that is out of range.

        Examples
        --------
        >>> layer = ConvTranspose2d(1, 2, 3, stride=2, seed=0)
        >>> layer(np.ones((1, 6, 6), np.float32)).shape, layer(np.ones((1, 6, 6), np.float32), (14, 13)).shape
        ((2, 13, 13), (2, 14, 13))
        """
        output_padding = self.output_padding if output_size is None else self._output_padding(input, output_size)
        weight, bias = self._parameters(input)
        return conv_transpose2d(
            input, weight, bias, self.stride, self.padding, output_padding, self.groups, self.dilation,
            backend=self._backend,
        )  # fmt: skip

    def _output_padding(self, input: Any, output_size: Any) -> tuple[int, ...]:
        return output_padding_for(
            output_size, interop.to_numpy("input", input).shape, self.kernel_size, per_axis("stride", self.stride, 1),
            integer_sides(self.padding), per_axis("dilation", self.dilation, 1),
        )  # fmt: skip


def _as_kept(value: Any, pair: Any) -> Any:
    """`pair`, or its first number where `value` was a sequence of one: torch keeps (and prints) it so."""
    return pair[:1] if hasattr(value, "__len__") and len(value) == 1 else pair


def _per_axis_if_alike(sides: Sides) -> tuple[int, ...] | Sides:
    """(h, w) where both sides of each axis are padded alike, as torch has it, else the four sides."""
    return tuple(after for _, after in sides) if all(before == after for before, after in sides) else sides


def _float_type(dtype: Any) -> np.dtype:
    """Floating dtype of a layer's parameters."""
    found = formats.parse("dtype", "float32" if dtype is None else dtype)
    if found not in formats.FLOATS:
        raise TypeError(f"dtype={dtype!r}: must be one of {', '.join(map(str, formats.FLOATS))}")
    return found


def _generator(seed: Any) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        expected = "a non-negative integer, a numpy.random.Generator or None"
        raise type(error)(f"seed={seed!r}: must be {expected}") from None


def _import(name: str, what: str) -> Any:
    """An optional module, or an error that says how to get it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise ModuleNotFoundError(f"{what} needs {package}: pip install {package}", name=package) from error


def _chosen(name: str, chosen: Any, count: int, most: int) -> list[int]:
    """Indices below `count`: those chosen, or the first ones, at most `most` of them."""
    if chosen is not None and not isinstance(chosen, Iterable):
        raise TypeError(f"{name}={chosen!r}: must be a sequence of integers, not {type(chosen).__name__}")
    indices = list(range(min(count, most))) if chosen is None else [integer(name, each, 0) for each in chosen]
    if not indices or max(indices) >= count:
        raise GeometryError(f"{name}={chosen!r}: must be at least one, each below {count}")
    return indices


def _heat_maps(weight: np.ndarray, filters: list[int], channels: list[int]) -> "Figure":
    """Grid about as wide as high: a filter's channels side by side, their colour bar, the next filter."""
    figure_module = _import("matplotlib.figure", "plot_weights()")
    per_row = max(1, math.isqrt(len(filters) // len(channels)))
    rows, columns = math.ceil(len(filters) / per_row), [*[1.0] * len(channels), 0.1, 0.5] * per_row
    width, height = 1.4 * sum(columns) + 0.4, 1.4 * rows + 0.8  # inches
    figure: Figure = figure_module.Figure(figsize=(max(width, 6), height))
    # Fixed margins: matplotlib's layout engines take five times longer than all the rest.
    grid = figure.add_gridspec(
        rows, len(columns), width_ratios=columns, wspace=0.1, hspace=0.25,
        left=0.2 / width, right=1 - 0.2 / width, bottom=0.2 / height, top=1 - 0.8 / height,
    )  # fmt: skip
    for position, k in enumerate(filters):
        row, start = position // per_row, position % per_row * (len(channels) + 2)
        shown = weight[k, channels]
        limit = float(np.max(abs(shown), initial=0, where=np.isfinite(shown))) or 1.0
        for column, c in enumerate(channels, start):
            panel = figure.add_subplot(grid[row, column], xticks=[], yticks=[])
            image = panel.imshow(weight[k, c], cmap="RdBu_r", vmin=-limit, vmax=limit)
            panel.set_title(f"filter {k}, channel {c}", fontsize="x-small")
        bar = figure.colorbar(image, cax=figure.add_subplot(grid[row, start + len(channels)]))
        bar.ax.tick_params(labelsize="x-small")
    return figure
