"""Numba's `intrinsic`, typed as any function: compiled code calls an intrinsic without the typing context.

Knows Numba; not what is compiled.
"""

from typing import Any

import numba.extending

intrinsic: Any = numba.extending.intrinsic
