#!/usr/bin/env bash
# JAX: subnormal numbers are zeros to a convolution on the CPU
#
# Behavior: `jax.lax.conv_general_dilated` on the CPU takes subnormal float32 inputs for 0, and gives 0 for outputs that
#   would be subnormal. JAX compiles for a processor mode in which subnormal numbers are flushed to zero; NumPy in the
#   same process keeps them. To be judged fairly, JAX has to claim `flush_to_zero`.
# Expected: 1e-39 (a subnormal number) times 1e10 is 1e-29; 1e-20 times 1e-19 is 1e-39.
# Version: jax and jaxlib 0.10.2, numpy 2.4.6
# Source: `refconv verify`, property `values`; IEEE 754-2019 says what subnormal numbers are.
# Seen: JAX 0 and 0; NumPy 1e-29 and 1e-39
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3.11}" -m venv environment
environment/bin/python -m pip install --quiet --no-deps jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 ml-dtypes==0.6.0 \
    opt-einsum==3.4.0 scipy==1.17.1

cat >program.py <<'PROGRAM'
import sys

import jax
import numpy as np


def product(first, second):
    image, weight = (np.full((1, 1, 1, 1), number, np.float32) for number in (first, second))
    output = jax.lax.conv_general_dilated(image, weight, (1, 1), [(0, 0), (0, 0)])
    return np.asarray(output).item(), (image * weight).item()


subnormal_input, subnormal_output = product(1e-39, 1e10), product(1e-20, 1e-19)
of_jax, of_numpy = zip(subnormal_input, subnormal_output)
print("JAX {:.3g} and {:.3g}; NumPy {:.3g} and {:.3g}".format(*of_jax, *of_numpy))
as_before = of_jax == (0, 0) and 0 not in of_numpy
sys.exit(0 if as_before else "this has changed: see the header of the script")
PROGRAM
environment/bin/python program.py
