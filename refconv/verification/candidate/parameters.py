"""Parameters: where a layer keeps its weight and its bias, and how it is given others.

Knows modules of torch, and other objects by their attributes; no operator. torch is asked only about what comes of it.
"""

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from refconv.verification.faults import WrongUse

WRAP = "wrap it in a function: def conv2d(input, weight, bias, stride, padding, dilation, groups): ..."


class NoLayer(WrongUse):
    """A class or object that is no function of an operator's arguments, and no layer either."""


@dataclass(frozen=True)
class Places:
    """The names of a layer's weight and bias; the second is empty if there is none."""

    weight: str
    bias: str = ""

    @classmethod
    def of(cls, layer: Any, shape: tuple[int, ...], filters: int) -> "Places":
        """Where a layer keeps a weight of a shape, and the bias of so many filters.

        Raises
        ------
        NoLayer
            If that can't be told, or if it has parameters besides, which would keep the numbers that it is built with.
        """
        if not is_torch(layer):
            return cls("weight", "bias" if getattr(layer, "bias", None) is not None else "")
        name = type(layer).__name__
        shapes = {place: shape_of(value, name) for place, value in layer.named_parameters()}
        weights, biases = ([place for place, of in shapes.items() if of == size] for size in (shape, (filters,)))
        told = ", ".join(f"{place} {of}" for place, of in shapes.items()) or "none"
        if len(weights) != 1:
            raise NoLayer(f"{name} has the parameters {told}: must have one of shape {shape}, its weight; or {WRAP}")
        others = [place for place in shapes if place not in (*weights, *biases[:1])]
        if others:
            raise NoLayer(
                f"{name} has parameters besides weight and bias ({', '.join(others)}), which would keep the numbers "
                f"that it is built with: {WRAP}"
            )
        return cls(weights[0], biases[0] if biases else "")

    def give(self, layer: Any, weight: Any, bias: Any) -> None:
        """Put numbers in place of a layer's own; zeros in place of a bias that the call has not.

        Raises
        ------
        NotImplementedError
            If the layer has no place for such numbers.
        """
        _put(layer, self.weight, weight, "weight")
        if bias is not None and not self.bias:
            raise NotImplementedError("a bias: the layer has none")
        if self.bias:
            place = _value(layer, self.bias)
            if bias is not None:
                _put(layer, self.bias, bias, "bias")
            elif place is not None:
                _put(layer, self.bias, _zeros(weight, tuple(place.shape)), "bias")


def shape_of(parameter: Any, name: str) -> tuple[int, ...]:
    """The shape of a layer's parameter; those of lazy modules have none yet."""
    try:
        return tuple(parameter.shape)
    except RuntimeError:
        raise NoLayer(f"{name} is lazy, and has no parameters yet: call it once, or {WRAP}") from None


def called(layer: Any, places: Places, numbers: tuple[Any, Any, Any]) -> Any:
    """The result of a layer on an image, with weight and bias that are not its own."""
    image, weight, bias = numbers
    places.give(layer, weight, bias)
    with without_gradients() if is_torch(layer) else nullcontext():
        return layer(image) if callable(layer) else layer.forward(image)


def is_torch(candidate: Any) -> bool:
    """Whether it is a torch.nn.Module, or a class of these."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    module = torch.nn.Module
    return issubclass(candidate, module) if isinstance(candidate, type) else isinstance(candidate, module)


def without_gradients() -> Any:
    """Context in which torch, if it is there, records nothing."""
    torch = sys.modules.get("torch")
    return nullcontext() if torch is None else torch.no_grad()


def _value(layer: Any, place: str) -> Any:
    """What stands in a place now; None if nothing does."""
    owner, _, attribute = place.rpartition(".")
    return getattr(layer.get_submodule(owner) if owner else layer, attribute, None)


def _put(layer: Any, place: str, numbers: Any, name: str) -> None:
    if not is_torch(layer):
        setattr(layer, place, numbers)
        return
    owner, _, attribute = place.rpartition(".")
    before = _value(layer, place)
    if before is None or before.shape != numbers.shape:
        present = "none" if before is None else f"one of shape {tuple(before.shape)}"
        raise NotImplementedError(f"{name} of shape {tuple(numbers.shape)}: the layer that was built has {present}")
    parameter = sys.modules["torch"].nn.Parameter(numbers, requires_grad=False)
    setattr(layer.get_submodule(owner), attribute, parameter)


def _zeros(weight: Any, shape: tuple[int, ...]) -> Any:
    return weight.new_zeros(shape) if hasattr(weight, "new_zeros") else np.zeros(shape, weight.dtype)
