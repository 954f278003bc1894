"""refconv: a validation oracle for people who write convolution kernels.

Public names only. `import refconv` loads neither torch, Hypothesis, matplotlib nor Numba, and compiles nothing.
`verify` and `strategies`, which need Hypothesis, are loaded when they are first used.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refconv import nn
from refconv.cases.recipe import Recipe
from refconv.cases.supports import Supports
from refconv.core.errors import BackendUnavailable, GeometryError
from refconv.core.version import __version__
from refconv.engine.recomputed import count_redone
from refconv.judge.bounds import ErrorModel
from refconv.judge.case import Case, assert_close
from refconv.judge.comparison import Comparison
from refconv.ops import (
    conv1d,
    conv1d_bias,
    conv1d_input,
    conv1d_weight,
    conv2d,
    conv2d_bias,
    conv2d_input,
    conv2d_integer,
    conv2d_quantized,
    conv2d_weight,
    conv3d,
    conv3d_bias,
    conv3d_input,
    conv3d_weight,
    conv_transpose1d,
    conv_transpose1d_input,
    conv_transpose1d_weight,
    conv_transpose2d,
    conv_transpose2d_input,
    conv_transpose2d_weight,
    conv_transpose3d,
    conv_transpose3d_input,
    conv_transpose3d_weight,
)
from refconv.ops.epilogue import Epilogue

if TYPE_CHECKING:
    from refconv import strategies
    from refconv.verification import verify

__all__ = [
    "BackendUnavailable",
    "Case",
    "Comparison",
    "Epilogue",
    "ErrorModel",
    "GeometryError",
    "Recipe",
    "Supports",
    "__version__",
    "assert_close",
    "conv1d",
    "conv1d_bias",
    "conv1d_input",
    "conv1d_weight",
    "conv2d",
    "conv2d_bias",
    "conv2d_input",
    "conv2d_integer",
    "conv2d_quantized",
    "conv2d_weight",
    "conv3d",
    "conv3d_bias",
    "conv3d_input",
    "conv3d_weight",
    "conv_transpose1d",
    "conv_transpose1d_input",
    "conv_transpose1d_weight",
    "conv_transpose2d",
    "conv_transpose2d_input",
    "conv_transpose2d_weight",
    "conv_transpose3d",
    "conv_transpose3d_input",
    "conv_transpose3d_weight",
    "count_redone",
    "nn",
    "strategies",
    "verify",
]


def _diagnosed(*judged: Any, strict: bool) -> Any:
    """What `comparison.diagnosis` is, made by what stands above the judge."""
    return import_module("refconv.verification.diagnose.single_case").diagnosis(*judged, strict=strict)


Case.diagnoser = staticmethod(_diagnosed)

_FORMER = ("fills", "recipes", "supports")  # modules of 0.1.0, which the programs that it emitted import
__path__.append(str(Path(__file__).parent / "verification" / "former" / "of_refconv"))


def __getattr__(name: str) -> Any:
    if name == "verify":
        return import_module("refconv.verification").verify
    if name in ("strategies", "verification", *_FORMER):
        return import_module(f"refconv.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
