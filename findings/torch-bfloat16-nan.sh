#!/usr/bin/env bash
# torch: NaN reaches the output beside it in bfloat16
#
# Behavior: `torch.nn.functional.conv2d` in bfloat16, with one input channel and a kernel of more than one tap, gives
#   NaN for an output whose window holds no NaN, if the window of a neighboring output holds one. With 2, 4 or 16 input
#   channels, or without oneDNN, the same torch gives the right number. A likely cause: channels are multiplied in
#   pairs, a single one is paired with a zero, and 0 times NaN is NaN.
# Expected: the first output is the sum of the left column, 1 + 1 = 2; only the second one is NaN.
# Version: torch 2.13.0 (CPU build, with oneDNN 3.12.0), numpy 2.4.6
# Needs: an x86-64 processor with AVX-512 (avx512bw); without it torch takes another kernel, which is right.
# Source: `refconv verify`, properties `groups` and `values`; akin to https://github.com/uxlfoundation/oneDNN/issues/5717,
#   where NaN passes from row to row of a matrix product in bfloat16.
# Seen: oneDNN [nan, nan]; without oneDNN [2.0, nan]
set -euo pipefail

if ! grep -qw avx512bw /proc/cpuinfo; then
    echo "nothing can be seen without AVX-512 (avx512bw)" >&2
    exit 2
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3.11}" -m venv environment
environment/bin/python -m pip install --quiet --no-deps torch==2.13.0 numpy==2.4.6 filelock==4.2.12 fsspec==2026.9.0 \
    jinja2==3.1.6 markupsafe==3.0.4 mpmath==1.3.0 networkx==3.6.1 sympy==1.14.0 typing-extensions==4.16.0

cat >program.py <<'PROGRAM'
import math
import sys

import torch

image = torch.ones(1, 1, 2, 2, dtype=torch.bfloat16)
image[0, 0, 1, 1] = float("nan")  # in the right column
weight = torch.ones(1, 1, 2, 1, dtype=torch.bfloat16)  # two taps, one above the other: each output sums one column


def outputs():
    return torch.nn.functional.conv2d(image, weight).flatten().tolist()


with_onednn = outputs()
with torch.backends.mkldnn.flags(enabled=False, allow_tf32=False):
    without_onednn = outputs()
print(f"oneDNN {with_onednn}; without oneDNN {without_onednn}")
as_before = math.isnan(with_onednn[0]) and without_onednn[0] == 2 and math.isnan(with_onednn[1] + without_onednn[1])
sys.exit(0 if as_before else "this has changed: see the header of the script")
PROGRAM
environment/bin/python -W ignore::UserWarning program.py
