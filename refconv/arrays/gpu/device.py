"""The GPU: the one module that imports numba.cuda, and the reasons why the GPU can't be used.

Knows numba-cuda; of refconv its errors only. Imported when the GPU is first asked for.
"""

from functools import cache
from importlib import import_module
from typing import Any

from refconv.core.errors import BackendUnavailable

INSTALL = "pip install 'refconv[cuda]', or use backend='cpu'"
LEAST_CAPABILITY = (7, 5)  # of CUDA 13's compiler

# All are `Any`: numba-cuda is typed in part, and mypy sees its types only where it is installed.
try:
    cuda: Any = import_module("numba.cuda")
    SIMULATED = bool(import_module("numba.core.config").ENABLE_CUDASIM)  # Numba's simulator runs kernels as Python
    if not SIMULATED:  # what tiles and kernels are written with
        cgutils: Any = import_module("numba.cuda.cgutils")
        extending: Any = import_module("numba.cuda.extending")
        types: Any = import_module("numba.cuda.types")
        lower_constant: Any = import_module("numba.cuda.core.imputils").lower_constant
        register_model: Any = import_module("numba.cuda.models").register_model
        populate_array: Any = import_module("numba.cuda.np.arrayobj").populate_array
        typeof_impl: Any = import_module("numba.cuda.typing.typeof").typeof_impl
        # cuda-core's, which numba-cuda depends on: who reads and writes DLPack's structures.
        StridedMemoryView: Any = import_module("cuda.core.utils").StridedMemoryView
        driver: Any = import_module("numba.cuda.cudadrv.driver")
        # What protocols between libraries call the default stream, Numba's 0.
        DEFAULT_STREAM = 2 if import_module("numba.cuda.core.config").CUDA_PER_THREAD_DEFAULT_STREAM else 1
    else:  # the simulator has none of them, and no code uses them there
        StridedMemoryView = driver = None
        DEFAULT_STREAM = 0
    from_dtype: Any = import_module("numba.cuda.np.numpy_support").from_dtype
    UnknownDtype: Any = import_module("numba.cuda.core.errors").NumbaNotImplementedError
    _PLACE, _NAME = ("simulator.cudadrv", "FakeCUDAArray") if SIMULATED else ("cudadrv", "DeviceNDArray")
    Array: Any = getattr(import_module(f"numba.cuda.{_PLACE}.devicearray"), _NAME)  # Numba's own
except (ImportError, AttributeError) as error:  # Numba brings a numba.cuda, which has not all of these
    raise BackendUnavailable(f"backend='cuda': numba-cuda is not installed ({error}): {INSTALL}") from error


def check() -> None:
    """Refuse to go on without a GPU that kernels can be compiled for.

    Raises
    ------
    BackendUnavailable
        Saying what is missing, and how to get it.
    """
    reason = _missing() or _too_old(current_device())
    if reason:
        raise BackendUnavailable(f"backend='cuda': {reason}")


@cache
def _missing() -> str:
    if SIMULATED:
        return ""
    try:
        available = cuda.is_available()
        reason = "" if available else str(cuda.cuda_error() or "no device").strip()
    except Exception as error:  # noqa: BLE001 - whatever a broken driver raises, it is not there
        available, reason = False, str(error)
    if not available:
        first = " ".join(reason.split())
        return f"no usable GPU ({first}); install NVIDIA's driver (https://www.nvidia.com/drivers) and {INSTALL}"
    installed, compiler = cuda.cudadrv.driver.get_version(), cuda.runtime.get_version()
    if installed[0] < compiler[0]:  # within a major version, older drivers run what newer compilers make
        return (
            f"the driver is for CUDA {_dotted(installed)}, the compiler of CUDA {_dotted(compiler)}: the driver must "
            f"be for CUDA {compiler[0]} or newer; install a newer one (https://www.nvidia.com/drivers), or, for CUDA "
            "12, an older compiler: pip install 'numba-cuda[cu12]'"
        )
    return ""


@cache
def _too_old(_gpu: int) -> str:
    """The reason why the current GPU, the cache's key, is too old; empty if it is not."""
    if SIMULATED:
        return ""
    capability = cuda.get_current_device().compute_capability
    if tuple(capability) < LEAST_CAPABILITY:
        return (
            f"the GPU has compute capability {_dotted(capability)}: must be at least {_dotted(LEAST_CAPABILITY)}; "
            "use another GPU, or backend='cpu'"
        )
    return ""


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def current_device() -> int:
    """The number of the current GPU; the simulator's is 0."""
    return 0 if SIMULATED else int(cuda.get_current_device().id)
