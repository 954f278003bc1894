"""KernelBench's files: a model, perhaps its reference, and functions that make its arguments and inputs.

Such a file has `class ModelNew` or `class Model`, `get_init_inputs` and `get_inputs` (Ouyang et al., "KernelBench: Can
LLMs write efficient GPU kernels?", 2025). Knows modules of torch, which is imported only for such a file; not how a
model that is no convolution is judged.
"""

import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from refconv.arrays.interop import to_numpy
from refconv.core import operators
from refconv.core.operators import CONV, TRANSPOSED, kind_of
from refconv.core.optional import optional_module
from refconv.judge.case import Case
from refconv.verification.candidate.modules import Built, Layer
from refconv.verification.candidate.parameters import NoLayer
from refconv.verification.faults import WrongUse

INPUTS, ARGUMENTS = "get_inputs", "get_init_inputs"
CANDIDATE, REFERENCE = "ModelNew", "Model"
# torch's layers, and their operators.
CONVOLUTIONS = {
    f"{name}{axes}d": operators.named(kind, axes)
    for name, kind in (("Conv", CONV), ("ConvTranspose", TRANSPOSED))
    for axes in (1, 2, 3)
}
SMALL = 32  # pixels along an axis of the image on which a model is compared with the oracle
SAMPLE = 2000  # outputs that are compared if there are more
CALLS = 5  # of one model on the same inputs: what it keeps shows


def named(module: Any) -> str:
    """The class that a file of KernelBench's form is about; empty if it has none."""
    names = (CANDIDATE, REFERENCE) if _is_file(module) else ()
    return next((name for name in names if isinstance(getattr(module, name, None), type)), "")


def _is_file(module: Any) -> bool:
    return callable(getattr(module, INPUTS, None))


def file_of(candidate: Any) -> "ModelFile | None":
    """The file of KernelBench's form that a class comes from, if it does."""
    module = sys.modules.get(getattr(candidate, "__module__", None) or "")
    return ModelFile.of(module, candidate) if isinstance(candidate, type) and _is_file(module) else None


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model, its reference, and what they are built and called with.

    Parameters
    ----------
    model : type
        The model to be judged.
    reference : type or None
        What it is to compute: the file's own `Model`, which may be the same; None if there is none.
    inputs, arguments : callable
        `get_inputs` and `get_init_inputs`; a file without the latter has no arguments.
    """

    model: type
    reference: type | None
    inputs: Callable[[], Any]
    arguments: Callable[[], Any]

    @classmethod
    def of(cls, module: Any, model: type) -> "ModelFile":
        """The file that a class is in."""
        optional_module("torch", "a file of KernelBench's form")
        return cls(model, getattr(module, REFERENCE, None), getattr(module, INPUTS), getattr(module, ARGUMENTS, list))

    def built(self, model: type) -> Any:
        """A model, built as the file says; of models with the same parameters every one draws the same numbers."""
        arguments = list(self.arguments())
        if len(arguments) == 2 and isinstance(arguments[0], list) and isinstance(arguments[1], dict):
            return model(*arguments[0], **arguments[1])
        return model(*arguments)

    def images(self) -> list[Any]:
        """What the model is called with."""
        return list(self.inputs())

    @cached_property
    def convolution(self) -> Any:
        """The only layer of the reference, or of a model without one, if it is nothing but its convolution; else None.

        Raises
        ------
        NoLayer
            If the model or its inputs can't be made.
        """
        torch, model = sys.modules["torch"], self.reference or self.model
        layer = _made(lambda: self.built(model).double().eval(), f"building {model.__name__}")
        images = _made(self.images, INPUTS)
        layers = [part for part in layer.modules() if type(part).__name__ in CONVOLUTIONS]
        if len(layers) != 1 or len(images) != 1 or images[0].ndim != layers[0].weight.ndim:
            return None
        spatial = [slice(SMALL)] * (images[0].ndim - 2)
        small = images[0][(slice(1), slice(None), *spatial)].double()
        with torch.no_grad():
            for image in (small, images[0][:1].double()):  # a model may insist on its own size
                try:
                    output = layer(image)
                except Exception:  # noqa: BLE001, S112 - whatever it raises on a size that is not its own
                    continue
                return layers[0] if _is_computed(layers[0], image, output) else None
        return None

    @property
    def op(self) -> str:
        """The operator of the convolution."""
        return CONVOLUTIONS[type(self.convolution).__name__]

    @property
    def shapes(self) -> tuple[str, ...]:
        """The file's own shapes, as geometries in text."""
        layer, x = self.convolution, tuple(self.images()[0].shape)
        options = {name: _pair(getattr(layer, name)) for name in ("stride", "padding", "dilation")}
        if kind_of(self.op) == TRANSPOSED:
            options["output_padding"] = _pair(layer.output_padding)
        texts = [f"{name}={value if isinstance(value, str) else 'x'.join(map(str, value))}"
                 for name, value in options.items()]  # fmt: skip
        texts += [f"groups={layer.groups}", f"padding_mode={layer.padding_mode}"]
        shapes = (",".join(map(str, shape)) for shape in (x, layer.weight.shape))
        return (":".join((*shapes, ",".join(texts))),)

    def function(self) -> Callable[..., Any]:
        """What is called: the class for each case, the built model, or, of what is no convolution, `Unbounded`."""
        if self.convolution is None and self.reference is None:
            return Built.of(self.model, "conv2d")  # or refused: there is nothing that it could be compared with
        if self.convolution is None:
            return Unbounded(self)
        try:
            return Built.of(self.model, self.op)
        except NoLayer:
            model = _made(lambda: self.built(self.model), f"building {self.model.__name__}")
            return Layer.of(model, self.op, self.convolution)


@dataclass(frozen=True, eq=False)
class Unbounded:
    """A model that is no convolution alone: there is no bound of its error, but that of its reference in float32."""

    file: ModelFile
    arrays = "torch"

    @property
    def __name__(self) -> str:
        return self.file.model.__name__

    def __call__(self, *_arguments: Any, **_keywords: Any) -> Any:
        """Refuse: it is called as its file says, not as a convolution."""
        raise NotImplementedError("it is no convolution alone")

    def results(self, seed: int) -> "Results":
        """What the model and its reference make of inputs and parameters of a seed.

        Raises
        ------
        WrongUse
            If the reference raises: then there is nothing to compare with.
        """
        torch = sys.modules["torch"]
        torch.manual_seed(seed + 1)
        images = self.file.images()
        with torch.no_grad():
            try:
                reference = self._built(self.file.reference, seed)
                result, state = reference(*_copies(images)), deepcopy(reference.state_dict())
                single = _numbers(result)
                double = _numbers(
                    deepcopy(reference).double()(*[x.double() if _is_float(x) else x for x in _copies(images)])
                )
            except Exception as error:
                raise WrongUse(f"{REFERENCE} itself raised {type(error).__name__}: {error}") from error
            if not hasattr(result, "detach"):
                raise WrongUse(f"{REFERENCE} returns a {type(result).__name__}: must return one tensor")
            model = self._built(self.file.model, seed)
            if _like(model) == _like(reference):
                model.load_state_dict(state)
            given = _copies(images)
            calls = [_numbers(model(*given)) for _ in range(CALLS)]
        changed = any(hasattr(x, "numpy") and not _same(x, y) for x, y in zip(images, given, strict=True))
        return Results(calls, single, double, changed)

    def _built(self, model: Any, seed: int) -> Any:
        """A model whose parameters are drawn from a seed."""
        sys.modules["torch"].manual_seed(seed)
        return self.file.built(model).eval()


@dataclass(frozen=True, eq=False)
class Results:
    """What a model makes of its inputs, called several times, and its reference in float32 and float64."""

    calls: list[np.ndarray]
    single: np.ndarray
    double: np.ndarray
    changed: bool  # whether the inputs were changed


def _is_computed(layer: Any, image: Any, output: Any) -> bool:
    """Whether an output is a layer's convolution of an image and nothing else."""
    op = CONVOLUTIONS[type(layer).__name__]
    bias = None if layer.bias is None else layer.bias.detach()
    options = {"output_padding": layer.output_padding} if kind_of(op) == TRANSPOSED else {}
    if kind_of(op) == CONV:
        options["padding_mode"] = layer.padding_mode
    case = Case(
        op=op, input=image, weight=layer.weight.detach(), bias=bias, stride=layer.stride, padding=layer.padding,
        dilation=layer.dilation, groups=layer.groups, **options,
    )  # fmt: skip
    sample = SAMPLE if kind_of(op) == CONV and case.unwritten.size > SAMPLE else None
    return hasattr(output, "detach") and case.check(output.detach(), sample=sample).ok


def _made(make: Callable[[], Any], what: str) -> Any:
    """What a function of the file's makes, or an error that says what raised."""
    try:
        return make()
    except Exception as error:
        raise NoLayer(f"{what} raised {type(error).__name__}: {error}") from error


def _same(left: Any, right: Any) -> bool:
    return bool(_numbers(left).tobytes() == _numbers(right).tobytes())


def _like(model: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's parameters and buffers."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _copies(images: list[Any]) -> list[Any]:
    return [image.clone() if hasattr(image, "clone") else image for image in images]


def _is_float(value: Any) -> bool:
    return bool(getattr(getattr(value, "dtype", None), "is_floating_point", False))


def _numbers(result: Any) -> np.ndarray:
    """A copy of a result, for a model may use its memory again; an empty array if it is no tensor."""
    return np.array(to_numpy("result", result)) if hasattr(result, "detach") else np.empty(0)


def _pair(value: Any) -> Any:
    return value if isinstance(value, str | tuple) else (value, value)
