#!/usr/bin/env bash
# onnxruntime: auto_pad SAME_UPPER with a stride above the kernel leaves out the first elements
#
# Behavior: a Conv with a 1x1 kernel, a stride of 4 and `auto_pad="SAME_UPPER"` reads elements 1 and 5 of 8, and not 0
#   and 4: where the padding comes out below 0, (ceil(size / stride) - 1) * stride + kernel - size = -3 here, half of it
#   is cut off the beginning. SAME_LOWER, explicit pads of 0, and the reference evaluator of ONNX read 0 and 4, whose
#   definition has no negative padding; so does TensorFlow's SAME, which takes max(0, ...).
# Expected: [0, 4] from each.
# Version: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6
# Source: `refconv verify`, `supports={"padding": "same_upper"}`, property `values`;
#   https://onnx.ai/onnx/operators/onnx__Conv.html, auto_pad.
# Seen: onnxruntime SAME_UPPER [1, 5], SAME_LOWER [0, 4]; reference SAME_UPPER [0, 4], SAME_LOWER [0, 4]
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3.11}" -m venv environment
environment/bin/python -m pip install --quiet --no-deps onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 \
    ml-dtypes==0.6.0 protobuf==7.36.2 flatbuffers==25.12.19 packaging==26.3 typing-extensions==4.16.0

cat >program.py <<'PROGRAM'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator


def read(evaluator, auto_pad):
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad=auto_pad, strides=[4, 4], kernel_shape=[1, 1])
    x, w, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 1, 8, 8]), ("w", [1, 1, 1, 1]), ("y", None))
    )
    graph = helper.make_graph([node], "conv", [x, w], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    columns = np.broadcast_to(np.arange(8, dtype=np.float32), (1, 1, 8, 8)).copy()
    result = evaluator(model)(None, {"x": columns, "w": np.ones((1, 1, 1, 1), np.float32)})[0]
    return result[0, 0, 0].astype(int).tolist()


def runtime(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run


def reference(model):
    return ReferenceEvaluator(model).run


NAMES = ("SAME_UPPER", "SAME_LOWER")
seen = [read(evaluator, name) for evaluator in (runtime, reference) for name in NAMES]
print("onnxruntime SAME_UPPER {}, SAME_LOWER {}; reference SAME_UPPER {}, SAME_LOWER {}".format(*seen))
as_before = seen == [[1, 5], [0, 4], [0, 4], [0, 4]]
sys.exit(0 if as_before else "this has changed: see the header of the script")
PROGRAM
environment/bin/python program.py
