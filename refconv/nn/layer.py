"""What all layers share: torch's parameters, their distribution, printing and devices.

Knows the checks of arguments and arrays; no operator.
"""

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from refconv.arrays import interop
from refconv.core import formats
from refconv.core.checks import STRIDED_SAME, choice, integer, per_axis
from refconv.core.errors import GeometryError
from refconv.core.optional import optional_module
from refconv.core.padding import MODES, Sides
from refconv.engine.targets import check_device
from refconv.nn.plots import MAX_CHANNELS, MAX_PANELS, chosen_indices, heat_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Layer:
    """What the layers share. A subclass checks its paddings, shapes its weight, and calls its operator."""

    _name: ClassVar[str]  # of torch's layer, also where a subclass has another
    # The constructor's arguments, but for `bias`, that are attributes of the same name here and in torch.
    _arguments: ClassVar[tuple[str, ...]]
    _least_channels: ClassVar[int] = 0  # fewest channels of the input: torch's convolution is content with none
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

    def __init__(  # noqa: PLR0913, PLR0917 - torch's arguments
        self,
        in_channels: Any,
        out_channels: Any,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: Any,
        bias: Any,
        padding_mode: Any,
        device: Any,
        dtype: Any,
        seed: Any,
        output_padding: Any = 0,
    ) -> None:
        self.in_channels = integer("in_channels", in_channels, self._least_channels)
        self.out_channels = integer("out_channels", out_channels, 1)
        self.kernel_size = per_axis("kernel_size", kernel_size, 1)
        if len(as_kept(kernel_size, self.kernel_size)) == 1:  # torch makes a layer that can't be called
            raise GeometryError(f"kernel_size={kernel_size!r}: must be an integer or 2 of them, not 1")
        self.stride = as_kept(stride, per_axis("stride", stride, 1))
        self.dilation = as_kept(dilation, per_axis("dilation", dilation, 1))
        self.groups = integer("groups", groups, 1)
        self.padding_mode = choice("padding_mode", padding_mode, self._modes)
        self._set_padding(padding, output_padding)
        self._set_parameters(bias, device, dtype, seed)

    @property
    def _weight_shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def _set_padding(self, padding: Any, output_padding: Any, /) -> None:
        """Keep the paddings, and check that all arguments together make a convolution."""
        raise NotImplementedError

    def _set_parameters(self, bias: Any, device: Any, dtype: Any, seed: Any) -> None:
        """Draw weight and bias as torch does: kaiming_uniform(a=sqrt(5)) is this uniform distribution."""
        if not isinstance(bias, (bool, np.bool_)):
            raise TypeError(f"bias={bias!r}: must be True or False, not {type(bias).__name__}")
        kept_dtype, generator = float_type(dtype), generator_of(seed)
        if device is not None:
            self.to(device)
        fan_in = math.prod(self._weight_shape[1:])
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        self.weight = generator.uniform(-bound, bound, self._weight_shape).astype(kept_dtype)
        self.bias = generator.uniform(-bound, bound, self.out_channels).astype(kept_dtype) if bias else None

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
            Or an object whose text is such a name: a torch.device, for instance.

        Raises
        ------
        BackendUnavailable
            If there is no usable target for the device; the message says what is missing.
        GeometryError
            For a name that is no device.

        Examples
        --------
        >>> from refconv.nn import Conv2d
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
        >>> from refconv.nn import Conv2d
        >>> Conv2d.from_torch(torch.nn.Conv2d(16, 33, (3, 5), padding="same", bias=False))
        Conv2d(16, 33, kernel_size=(3, 5), stride=(1, 1), padding=same, bias=False)
        """
        torch = sys.modules.get("torch")  # where it is not loaded, the module can't be one of its
        if torch is None or type(module) is not getattr(torch.nn, cls._name):
            # Of a layer of ours its public address: it lies in a file of refconv.nn.
            kind = f"{type(module).__module__.removesuffix('.layers')}.{type(module).__qualname__}"
            raise TypeError(f"module is a {kind}: must be a torch.nn.{cls._name} (not of a subclass)")
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
        >>> from refconv.nn import Conv2d
        >>> Conv2d(1, 2, 3).to_torch()
        Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
        """
        torch = optional_module("torch", "to_torch()")
        if isinstance(self.padding[0], tuple):
            raise GeometryError(f"padding={self.padding}: torch needs the same on both sides of an axis")
        if self.padding in STRIDED_SAME:
            raise GeometryError(f"padding={self.padding!r}: torch has no such padding")
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
        >>> from refconv.nn import Conv2d
        >>> figure = Conv2d(1, 4, 3).plot_weights()
        >>> len(figure.axes)  # four panels and their colour bars
        8
        """
        n_filters, n_channels = self.weight.shape[:2]
        shown_channels = chosen_indices("channels", channels, n_channels, MAX_CHANNELS)
        most = max(1, MAX_PANELS // len(shown_channels))
        shown_filters = chosen_indices("filters", filters, n_filters, most)
        figure = heat_maps(self.weight, shown_filters, shown_channels)
        title = repr(self)
        if len(shown_filters) < n_filters or len(shown_channels) < n_channels:
            title += f"\n{len(shown_filters)} of {n_filters} filters"
            title += f" and {len(shown_channels)} of {n_channels} channels: choose with filters=, channels="
        figure.suptitle(title, fontsize="medium", wrap=True)
        return figure


def as_kept(value: Any, pair: Any) -> Any:
    """`pair`, or its first number where `value` was a sequence of one: torch keeps (and prints) it so."""
    return pair[:1] if hasattr(value, "__len__") and len(value) == 1 else pair


def float_type(dtype: Any) -> np.dtype:
    """Floating dtype of a layer's parameters."""
    parsed = formats.parse("dtype", "float32" if dtype is None else dtype)
    if parsed not in formats.FLOATS:
        raise TypeError(f"dtype={dtype!r}: must be one of {', '.join(map(str, formats.FLOATS))}")
    return parsed


def generator_of(seed: Any) -> np.random.Generator:
    """The generator that draws the parameters: the one given, or a new one from a seed."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        expected = "a non-negative integer, a numpy.random.Generator or None"
        raise type(error)(f"seed={seed!r}: must be {expected}") from None
