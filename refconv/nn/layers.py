"""The two layers: torch's constructors, the geometry that each refuses, and the call of its operator.

Knows the operators and the checks below them; nothing of cases and bounds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from refconv.arrays import interop
from refconv.core.checks import Padding, Pair, check_channels, integer_sides, padding_sides, per_axis
from refconv.core.geometry import convolution
from refconv.core.padding import Sides
from refconv.core.transposed_geometry import output_padding_for, transposed
from refconv.nn.layer import Layer, as_kept
from refconv.ops.convolution import conv2d
from refconv.ops.transposed import conv_transpose2d


class Conv2d(Layer):
    """2-D convolution with parameters of its own: `torch.nn.Conv2d` computed by `refconv.conv2d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of channels of input and output.
    kernel_size, stride, dilation : int or (h, w)
        Size of the kernel, steps of the window, and steps between the elements within it.
    padding : int, (h, w), ((top, bottom), (left, right)), "same", "valid", "same_upper" or "same_lower"
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
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
            device, dtype, seed,
        )  # fmt: skip

    @property
    def _weight_shape(self) -> tuple[int, ...]:
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def _set_padding(self, padding: Any, _output_padding: Any, /) -> None:
        """Check the layer as the convolution of an empty batch of the smallest images that the kernel fits on."""
        sides = padding_sides(padding)
        dilation = per_axis("dilation", self.dilation, 1)
        reach = ((kernel - 1) * step + 1 for kernel, step in zip(self.kernel_size, dilation, strict=True))
        smallest = (0, self.in_channels, *reach)
        convolution(smallest, self._weight_shape, None, self.stride, sides, self.dilation, self.groups, "zeros")
        self.padding = sides if isinstance(sides, str) else as_kept(padding, _per_axis_if_alike(sides))

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


class ConvTranspose2d(Layer):
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
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
            device, dtype, seed, output_padding,
        )  # fmt: skip

    @property
    def _weight_shape(self) -> tuple[int, ...]:
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def _set_padding(self, padding: Any, output_padding: Any, /) -> None:
        """Check the layer on one of the smallest images of which the padding leaves something."""
        check_channels(self.in_channels, self.out_channels, self.groups)
        sides = integer_sides(padding)
        self.output_padding = as_kept(output_padding, per_axis("output_padding", output_padding, 0))
        shape, weight_shape = (1, self.in_channels, *self._smallest(sides)), self._weight_shape
        transposed(shape, weight_shape, None, self.stride, sides, self.output_padding, self.dilation, self.groups)
        self.padding = as_kept(padding, _per_axis_if_alike(sides))

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
            Size of the output, (H, W) or a whole shape that ends so: one of the sizes that a convolution would bring to
            that of the input. By default the layer's `output_padding` decides.

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


def _per_axis_if_alike(sides: Sides) -> tuple[int, ...] | Sides:
    """(h, w) where both sides of each axis are padded alike, as torch has it, else the four sides."""
    return tuple(after for _, after in sides) if all(before == after for before, after in sides) else sides
