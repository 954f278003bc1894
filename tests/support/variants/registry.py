"""What a variant is, and the changes of a call that several of them are made of. No test."""

from collections.abc import Callable
from dataclasses import dataclass, field

from offset_tables import Kernel


@dataclass(frozen=True)
class Variant:
    """A wrong kernel and the class of its mistake."""

    entry: str
    kind: str
    op: str
    what: str
    function: Callable = field(repr=False)
    dtypes: tuple = ("float32",)
    supports: dict = field(default_factory=dict, hash=False)

    @property
    def name(self):
        return f"{self.entry} {self.what}"

    def __call__(self, *arguments, **keywords):
        return self.function(*arguments, **keywords)


DTYPES = dict.fromkeys(("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_weight"), ("float32",)) | dict.fromkeys(
    ("conv2d_integer", "conv2d_quantized"), ("int8", "uint8")
)


def corpus():
    """A list of variants, and the function that adds one to it."""
    variants = []

    def add(entry, kind, op, what, function=None, *, dtypes=("float32",), supports=None, **hooks):
        function = function or getattr(Kernel(**hooks), op)
        variants.append(Variant(entry, kind, op, what, function, dtypes, supports or {}))

    return variants, add


INTEGER = {"dtypes": ("int8",)}
STRINGS = {"supports": {"string_padding": True}}
SIDES = {"supports": {"asymmetric_padding": True}}
MODES = {"supports": {"padding_mode": ("zeros", "reflect", "replicate", "circular")}}


def size(c, axis, *, kernel=None, stride=None, dilation=None, total=None):
    """An output size by a formula that takes something else than it should."""
    k, s, d = (c.kernel[axis] if kernel is None else kernel, stride or c.stride[axis], dilation or c.dilation[axis])
    p = c.total[axis] if total is None else total
    return max(0, (c.size[axis] + p - d * (k - 1) - 1) // s + 1)


def when(condition, change):
    """A hook that changes only some calls."""
    return lambda c, *rest: change(c, *rest) if condition(c) else (rest[0] if rest else c)


def setting(**changes):
    """A hook that changes the call's parameters, each computed from the call."""
    return lambda c: c.but(**{name: value(c) for name, value in changes.items()})


def strided(c):
    return max(c.stride) > 1


def dilated(c):
    return max(c.dilation) > 1


def grouped(c):
    return c.groups > 1


def same(c):
    return isinstance(c.padding, str) and c.padding == "same"
