"""Modules: classes and objects like torch.nn.Conv2d, as functions of an operator's arguments.

Knows constructors and operators; not where a class is loaded from, and not what is judged.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from refconv.cases.supports import LETTERS
from refconv.core.operators import CONV, TRANSPOSED, axes_of, kind_of
from refconv.ops.family import OPERATORS
from refconv.verification.candidate.parameters import (
    WRAP,
    NoLayer,
    Places,
    called,
    is_torch,
    shape_of,
    without_gradients,
)

LAYERS = (CONV, TRANSPOSED)  # kinds of operators that a class may be a layer of
SIZES = ("in_channels", "out_channels", "kernel_size")  # what a constructor must take; perhaps without the second
OPTIONS = ("stride", "padding", "output_padding", "dilation", "groups", "padding_mode", "bias")
# What options have that are not taken; filters, groups and a bias are seen by the parameters' shapes.
USUAL: Mapping[str, Any] = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "padding_mode": "zeros"}
CLAIMED = ("stride", "padding", "dilation", "groups")  # of which there are claims
PROBED = {"in_channels": 4, "out_channels": 6}  # a layer that is built to see what it is like
TAPS = 3  # of its kernel, along each axis
PLAIN = ("Identity", "Dropout", "Dropout2d")  # modules that leave numbers as they are while nothing is trained


def as_function(candidate: Any, op: str) -> Callable[..., Any]:
    """What is called in place of a candidate: itself, unless it is a class, or an object that takes images alone.

    Raises
    ------
    NoLayer
        For one that is not like a layer: the message says how to wrap it.
    """
    if isinstance(_class_of(candidate), type):
        return Built.of(candidate, op)
    takes_images = not inspect.isroutine(candidate) and callable(candidate) and _takes_images_alone(candidate)
    if takes_images and (is_torch(candidate) or hasattr(candidate, "kernel_size")):
        return Layer.of(candidate, op)
    return candidate  # type: ignore[no-any-return]


class _OfLayer:
    """What a layer says of itself, by its attributes."""

    layer: Any

    @property
    def __name__(self) -> str:
        return getattr(self.layer, "__name__", type(self.layer).__name__)

    @property
    def arrays(self) -> str:
        """The kind of arrays, torch's for a torch.nn.Module."""
        return str(getattr(self.layer, "arrays", "torch" if is_torch(self.layer) else "numpy"))

    @property
    def device(self) -> str:
        """Where tensors are to be."""
        return str(getattr(self.layer, "device", "cpu"))

    def said(self) -> Mapping[str, Any]:
        """What it says that it supports."""
        own = getattr(self.layer, "supports", None)
        return own if isinstance(own, Mapping) else {}


@dataclass(frozen=True, eq=False)
class Built(_OfLayer):
    """A class whose constructor takes what torch.nn.Conv2d's does: built for each call, and given weight and bias.

    Parameters
    ----------
    layer
        The class.
    make
        Builds one: the class, or a functools.partial of it.
    op
        The operator.
    taken
        What the constructor takes, of `SIZES` and `OPTIONS`.
    equal
        Of these, what must be one number for both axes.
    places
        Where a layer has its numbers.
    depthwise
        Whether it has a filter for each channel of the input.
    """

    layer: type
    make: Callable[..., Any]
    op: str
    taken: tuple[str, ...]
    equal: tuple[str, ...]
    places: Places = field(default_factory=lambda: Places("weight"))
    depthwise: bool = False

    @classmethod
    def of(cls, candidate: Any, op: str) -> "Built":
        """The function of a class, or of a functools.partial of one."""
        layer = _class_of(candidate)
        if kind_of(op) not in LAYERS:
            raise NoLayer(f"{layer.__name__} is a class: must be a function for op={op!r}")
        if not _is_callable(layer):
            raise NoLayer(f"{layer.__name__} is a class without forward or __call__: {WRAP}")
        try:
            parameters = dict(inspect.signature(candidate).parameters)
        except (ValueError, TypeError):
            parameters = {}
        preset = getattr(candidate, "keywords", {})
        every = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
        taken = tuple(name for name in (*SIZES, *OPTIONS) if name not in preset and (every or name in parameters))
        required = {name for name, parameter in parameters.items() if _is_required(parameter)} - {*preset}
        if not {"in_channels", "kernel_size"} <= {*taken} or not required <= {*taken}:
            arguments = ", ".join(parameters) or "nothing"
            raise NoLayer(
                f"{layer.__name__} is a class whose constructor takes {arguments}: must take what torch.nn.Conv2d's "
                f"does (in_channels, out_channels, kernel_size, ...), or {WRAP}"
            )
        equal = tuple(name for name in taken if name in parameters and parameters[name].annotation in (int, "int"))
        return cls(layer, candidate, op, taken, equal).probed()

    def probed(self) -> "Built":
        """With what a layer shows that was built: whether kernels are one number, and where its parameters are."""
        sizes = {name: size for name, size in PROBED.items() if name in self.taken}
        sizes |= {"bias": True} if "bias" in self.taken else {}
        raised: Exception | None = None
        taps = (TAPS,) * axes_of(self.op)
        for kernel in [TAPS] if "kernel_size" in self.equal else [taps, TAPS]:
            try:
                with without_gradients():
                    layer = self.make(**sizes, kernel_size=kernel)
            except Exception as error:  # noqa: BLE001 - whatever the constructor raises
                raised = raised or error
                continue
            equal = (*self.equal, *["kernel_size"] * (kernel == TAPS and "kernel_size" not in self.equal))
            depthwise = kind_of(self.op) == CONV and "out_channels" not in self.taken
            filters = PROBED["in_channels" if depthwise else "out_channels"]
            first, second = (filters, 1) if depthwise else (filters, PROBED["in_channels"])
            shape = (second, first) if kind_of(self.op) == TRANSPOSED else (first, second)
            places = Places.of(layer, (*shape, *taps), filters)
            self._refuse_other_axes(sizes)
            return Built(self.layer, self.make, self.op, self.taken, equal, places, depthwise)
        raise NoLayer(f"{self.layer.__name__}: building one raised {type(raised).__name__}: {raised}") from raised

    def _refuse_other_axes(self, sizes: Mapping[str, Any]) -> None:
        """Refuse a layer whose weight has other axes where a kernel is one number: torch's take any tuple."""
        try:
            with without_gradients():
                layer = self.make(**sizes, kernel_size=TAPS)
        except Exception:  # noqa: BLE001 - it takes a number for each axis, of which it has built one
            return
        parameters = [value for _, value in layer.named_parameters()] if is_torch(layer) else []
        shapes = [shape_of(parameter, self.layer.__name__) for parameter in parameters]
        if shapes and (most := max(map(len, shapes))) != axes_of(self.op) + 2:
            name, axes = self.layer.__name__, axes_of(self.op) + 2
            raise NoLayer(f"{name} builds a weight of {most} axes: must have {axes} axes, for op={self.op!r}")

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Build the layer, give it the numbers, and call it."""
        given = dict(zip(OPERATORS[self.op].parameters, arguments, strict=False)) | keywords
        weight, bias = given["weight"], given["bias"]
        transposed = kind_of(self.op) == TRANSPOSED
        first, second = weight.shape[:2]
        options = {
            "in_channels": first if transposed else second * given["groups"],
            "out_channels": second * given["groups"] if transposed else first,
            "kernel_size": tuple(weight.shape[2:]),
            "bias": bias is not None,
            **{name: given[name] for name in OPTIONS if name != "bias" and name in given},
        }
        return called(self.make(**self._accepted(options)), self.places, (given["input"], weight, bias))

    @property
    def supports(self) -> Mapping[str, Any]:
        """What follows from the constructor, and what the class itself says."""
        preset = getattr(self.make, "keywords", {})
        claims = {name: preset.get(name, USUAL.get(name, 1)) for name in CLAIMED if name not in self.taken}
        if self.depthwise:
            claims["groups"] = "depthwise"
        square = [name.removesuffix("_size") for name in self.equal if name in ("kernel_size", *CLAIMED[:3])]
        return {**claims, "bias": bool(self.places.bias), **({"square": square} if square else {}), **self.said()}

    def _accepted(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options that the constructor takes; what it does not take must have its usual value."""
        accepted: dict[str, Any] = {}
        for name, value in options.items():
            usual = value in (USUAL.get(name), (USUAL.get(name),) * axes_of(self.op))
            if name not in self.taken:
                if name in USUAL and not usual and name not in getattr(self.make, "keywords", {}):
                    raise NotImplementedError(f"{name}={value!r}: its constructor takes none")
            elif name in self.equal and isinstance(value, tuple):
                if len(set(value)) > 1:
                    raise NotImplementedError(f"{name}={value!r}: its constructor takes one number")
                accepted[name] = value[0]
            elif name != "padding_mode" or not usual:
                accepted[name] = value
        return accepted


@dataclass(frozen=True, eq=False)
class Layer(_OfLayer):
    """An object like a torch.nn.Conv2d that is there already: called with images, and given weight and bias."""

    layer: Any
    convolution: Any  # which has the geometry: the layer itself, or what it consists of
    op: str
    places: Places

    @classmethod
    def of(cls, layer: Any, op: str, convolution: Any = None) -> "Layer":
        """The function of an object; `convolution` has its geometry, if it has no such part itself."""
        name = type(layer).__name__
        if kind_of(op) not in LAYERS:
            raise NoLayer(f"an object of {name} takes images alone: must be a function for op={op!r}")
        if not hasattr(layer, "get_submodule") and is_torch(layer):
            raise NoLayer(f"an object of {name} can't be given other numbers: {WRAP}")
        if convolution is None:
            convolution = _only_convolution(layer)
        shape = _weight_shape(convolution, op)
        filters = convolution.out_channels
        return cls(layer, convolution, op, Places.of(layer, shape, filters))

    def __call__(self, input: Any, weight: Any, bias: Any, *_options: Any, **_keywords: Any) -> Any:
        """Give the layer the numbers, and call it; the claims leave no other option than its own."""
        return called(self.layer, self.places, (input, weight, bias))

    @property
    def supports(self) -> Mapping[str, Any]:
        """The only geometry that the object has; its images may be of any size."""
        of, axes = self.convolution, axes_of(self.op)
        letters = LETTERS[-axes:]
        claims: dict[str, Any] = {"padding_mode": getattr(of, "padding_mode", "zeros")}
        for name, label in (("kernel_size", "kernel"), ("stride", "stride"), ("dilation", "dilation")):
            claims |= {
                f"{label}_{letter}": n for letter, n in zip(letters, _each(getattr(of, name, 1), axes), strict=True)
            }
        padding = getattr(of, "padding", 0)
        if isinstance(padding, str):
            claims["padding"] = padding
        else:
            claims |= {f"padding_{letter}": n for letter, n in zip(letters, _each(padding, axes), strict=True)}
        claims |= {"groups": getattr(of, "groups", 1), "channels": of.in_channels, "filters": of.out_channels}
        if kind_of(self.op) == TRANSPOSED:
            claims["output_padding"] = list(_each(getattr(of, "output_padding", 0), axes))
        return {**claims, "bias": bool(self.places.bias), **self.said()}


def _only_convolution(layer: Any) -> Any:
    """The only part of an object that is like torch.nn.Conv2d, if it has no other part that changes numbers."""
    name = type(layer).__name__
    parts = [layer] if hasattr(layer, "kernel_size") else []
    if not parts and is_torch(layer):
        parts = [module for module in layer.modules() if hasattr(module, "kernel_size")]
    if len(parts) != 1:
        raise NoLayer(
            f"an object of {name} takes images alone, and has {len(parts)} parts like torch.nn.Conv2d: must have one, "
            f"or {WRAP}"
        )
    leaves = [part for part in layer.modules() if not list(part.children())] if is_torch(layer) else parts
    others = [type(leaf).__name__ for leaf in leaves if leaf is not parts[0] and type(leaf).__name__ not in PLAIN]
    if others:
        raise NoLayer(f"an object of {name} holds {', '.join(others)} too: must be a convolution alone, or {WRAP}")
    return parts[0]


def _weight_shape(convolution: Any, op: str) -> tuple[int, ...]:
    """The shape of a convolution's weight, of its own or by its attributes."""
    weight = getattr(convolution, "weight", None)
    shape: tuple[int, ...]
    if weight is not None:
        shape = shape_of(weight, type(convolution).__name__)
    else:
        channels, groups = (convolution.in_channels, convolution.out_channels), getattr(convolution, "groups", 1)
        first, second = channels if kind_of(op) == TRANSPOSED else channels[::-1]
        shape = (first, second // groups, *_each(convolution.kernel_size, axes_of(op)))
    if len(shape) != axes_of(op) + 2:
        name, axes = type(convolution).__name__, axes_of(op) + 2
        raise NoLayer(f"{name} has a weight of shape {shape}: must have {axes} axes, for op={op!r}")
    return shape


def _class_of(candidate: Any) -> Any:
    """The class of a class, or of a functools.partial of one; None of anything else."""
    inner = candidate.func if isinstance(candidate, functools.partial) else candidate
    return inner if isinstance(inner, type) else None


def _is_callable(layer: type) -> bool:
    """Whether objects of a class can be called; torch.nn.Module's own forward only raises."""
    if is_torch(layer):
        return layer.forward is not sys.modules["torch"].nn.Module.forward  # type: ignore[attr-defined]
    return callable(getattr(layer, "forward", None)) or "__call__" in dir(layer)


def _takes_images_alone(candidate: Any) -> bool:
    """Whether an object can be called with one argument, and not with those of a conv2d."""
    try:
        signature = inspect.signature(candidate.forward if hasattr(candidate, "forward") else candidate)
    except (ValueError, TypeError):
        return False
    return _binds(signature, 1) and not _binds(signature, len(OPERATORS["conv2d"].parameters))


def _binds(signature: inspect.Signature, arguments: int) -> bool:
    try:
        signature.bind(*[None] * arguments)
    except TypeError:
        return False
    return True


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_KEYWORD,
        parameter.VAR_POSITIONAL,
    )


def _each(value: Any, axes: int) -> tuple[Any, ...]:
    """One number for each axis, of one for all or of several."""
    numbers = tuple(value) if isinstance(value, tuple | list) else (value,)
    return numbers * axes if len(numbers) == 1 else numbers
