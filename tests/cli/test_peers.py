"""`refconv bench --against onnxruntime`: each library in a process of its own."""

import json

import numpy as np
import pytest
from cases import DENSE, DEPTHWISE
from rich.console import Console

import refconv
from refconv.cli import bench, peers
from refconv.cli.bench import SETTINGS, compare
from refconv.verification.candidate.candidate import Candidate

SMALL = (DENSE, DEPTHWISE)


def text_of(*tables):
    """What tables look like, plain."""
    console = Console(width=160)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    return capture.get()


def test_several_peers_each_in_a_process_of_its_own():
    """The faster one counts; a candidate is judged and timed beside them."""
    candidate = Candidate(refconv.conv2d, "numpy", "")
    rows = compare(SMALL, precision="float32", against="onnxruntime", seconds=0.0, candidate=candidate)
    for row in rows:
        assert set(row.peers) == {"torch", "onnxruntime"}
        assert row.peer == min(row.peers.values()) > 0 < row.refconv
        assert row.verdict in {"identical", "within bound"}
        assert row.candidate > 0
    text = text_of(bench.table(rows, SETTINGS[0], "onnxruntime"), bench.summary({SETTINGS[0]: rows}, "onnxruntime"))
    assert "torch" in text
    assert "faster/" in text
    assert json.loads(bench.as_json({SETTINGS[0]: rows}, {}, "onnxruntime"))["comparisons"][0]["rows"][0]["peers"]


@pytest.mark.parametrize("library", peers.LIBRARIES)
def test_libraries_compute_the_layer(library):
    case = DEPTHWISE.case("float32")
    (result,) = np.asarray(peers._call(library, case, "float32", 1)()).reshape(1, *case.unwritten.shape)
    refconv.assert_close(result, case)


def test_a_library_that_ends_is_said():
    with peers.Library("refconv", 1) as library:
        library._process.kill()
        library._process.wait()
        with pytest.raises(RuntimeError, match="the process of refconv ended while it computed"):
            library.block(DENSE, "float32", "float32", 0.0)


def test_every_peer_is_needed(monkeypatch):
    monkeypatch.setattr(bench, "find_spec", lambda name: None if name == "onnx" else name)
    with pytest.raises(ModuleNotFoundError, match=r"against='onnxruntime': needs onnx, which is not installed"):
        compare([DENSE], precision="float32", against="onnxruntime")
