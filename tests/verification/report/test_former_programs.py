"""Programs that version 0.1.0 emitted, to the letter but for the kernel's path: they run, and show their failures."""

import subprocess
import sys
import textwrap

import pytest

import refconv
from refconv.verification import DigitLayer, Wrong

KERNELS = """
import numpy as np
import refconv


def conv2d(input, weight, bias, stride, *rest):
    if 0 in stride:
        return np.zeros((1, 1, 1, 1), input.dtype)
    return refconv.conv2d(input, weight, bias, stride, *rest) + 1


def into(*arguments):
    arguments[-1][...] = conv2d(*arguments[:-1])


def conv2d_bias(grad_output):
    return refconv.conv2d_bias(grad_output) + 1
"""

# What each program begins with that loads a function and makes a plain call.
LOADED = """\
import importlib.util
import sys
import numpy as np
import refconv

spec = importlib.util.spec_from_file_location('refconv_candidate', '{folder}/kernels.py')
sys.path.insert(0, '{folder}')
module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""

CALLED = """\
arguments = [np.array(each) if isinstance(each, np.ndarray) else each for each in case.arguments()]
refconv.assert_close(candidate(*arguments), case)
"""

LITERALS = f"""\
{LOADED}candidate = module.conv2d

input = np.array([[[[-12.0, -5.0], [-1.0, 9.0]]]], 'float32')
weight = np.array([[[[10.0, 2.0]]]], 'float32')
case = refconv.Case(
    input=input, weight=weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
)
{CALLED}"""

OPERANDS = f"""\
{LOADED}candidate = module.conv2d

from refconv.fills import operands
input, weight, bias = operands(
    'integers', (2, 4, 8, 8), (4, 4, 3, 3), bias=True, dtype='float32', seed=3
)
case = refconv.Case(
    input=input, weight=weight, bias=bias, stride=(2, 2), padding=(1, 1), dilation=(1, 1), groups=1
)
{CALLED}"""

OTHER_OPERATOR = f"""\
{LOADED}candidate = module.conv2d_bias

from refconv.recipes import Recipe
case = Recipe.from_dict({{'geometry': {{'batch': 2, 'in_channels': 4, 'out_channels': 4, 'size': (16, 16), \
'kernel': (3, 3), 'stride': (2, 2), 'padding': ((1, 1), (1, 1)), 'dilation': (1, 1), 'groups': 1, \
'padding_mode': 'zeros'}}, 'padding': (1, 1), 'batched': True, 'bias': False, 'dtype': 'float32', \
'fill': 'integers', 'seed': 0, 'op': 'conv2d_bias', 'output_padding': (0, 0), 'layout': 'NCHW', 'memory': (), \
'quantisation': ''}}).case()
grad_output = case.arrays['grad_output']
case = refconv.Case(
    op='conv2d_bias', grad_output=grad_output
)
{CALLED}"""

IMAGE = f"""\
{LOADED}candidate = module.conv2d

from refconv.verification.layers import DigitLayer
layer = DigitLayer(image=0, weight_shape=(20, 1, 5, 5), dtype='float32', seed=0).case()
input, weight, bias = layer.input, layer.weight, layer.bias
case = refconv.Case(
    input=input, weight=weight, bias=bias, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
)
{CALLED}"""

VIEW = """\
import refconv
from refconv.recipes import Recipe
from refconv.verification import examine, load

candidate = load('{folder}/kernels.py:conv2d', 'numpy', op='conv2d', style='return')
case = Recipe.from_dict({'geometry': {'batch': 1, 'in_channels': 1, 'out_channels': 1, 'size': (2, 2),
    'kernel': (1, 2), 'stride': (1, 1), 'padding': ((0, 0), (0, 0)), 'dilation': (1, 1), 'groups': 1,
    'padding_mode': 'zeros'}, 'padding': (0, 0), 'batched': True, 'bias': False, 'dtype': 'float32',
    'fill': 'integers', 'seed': 0, 'op': 'conv2d', 'output_padding': (0, 0), 'layout': 'NCHW', 'memory':
    (('input', 'negative'),), 'quantisation': ''})
found = examine(candidate, case, 'values')
assert found is None, found.text
"""

WRONG_ARGUMENT = """\
import refconv
from refconv.recipes import Recipe
from refconv.verification import examine, load
from refconv.verification.misuse import Wrong

candidate = load('{folder}/kernels.py:conv2d', 'numpy', op='conv2d', style='return')
case = Wrong(Recipe.from_dict({'geometry': {'batch': 1, 'in_channels': 1, 'out_channels': 1, 'size': (2,
    2), 'kernel': (1, 2), 'stride': (1, 1), 'padding': ((0, 0), (0, 0)), 'dilation': (1, 1), 'groups': 1,
    'padding_mode': 'zeros'}, 'padding': (0, 0), 'batched': True, 'bias': False, 'dtype': 'float32',
    'fill': 'integers', 'seed': 0, 'op': 'conv2d', 'output_padding': (0, 0), 'layout': 'NCHW', 'memory':
    (), 'quantisation': ''}), 'stride 0')
found = examine(candidate, case, 'errors')
assert found is None, found.text
"""

IMAGE_OUT = """\
import refconv
from refconv.verification import examine, load
from refconv.verification.layers import DigitLayer

candidate = load('{folder}/kernels.py:into', 'numpy', op='conv2d', style='out')
case = DigitLayer(image=0, weight_shape=(20, 1, 5, 5), dtype='float32', seed=0)
found = examine(candidate, case, 'values')
assert found is None, found.text
"""

PROGRAMS = {
    "literals": (LITERALS, "wrong"),
    "operands": (OPERANDS, "wrong"),
    "other operator": (OTHER_OPERATOR, "wrong"),
    "image": (IMAGE, "wrong"),
    "view": (VIEW, "wrong"),
    "wrong argument": (WRONG_ARGUMENT, "must be refused"),
    "image, out": (IMAGE_OUT, "wrong"),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_programs_of_the_first_version_show_their_failures(kind, tmp_path, monkeypatch):
    text, message = PROGRAMS[kind]
    (tmp_path / "kernels.py").write_text(KERNELS)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "refconv_candidate", None)
    with pytest.raises(AssertionError, match=message):
        exec(compile(text.replace("{folder}", str(tmp_path)), "program", "exec"), {})  # noqa: S102 - a program of ours


def test_former_addresses_are_attributes():
    """As lines for Hypothesis tests spell them, after `import refconv` alone; which stays light."""
    program = """
    import sys
    import refconv
    assert not {"hypothesis", "matplotlib", "numba", "rich", "torch"} & set(sys.modules)
    assert refconv.recipes.Recipe is refconv.Recipe
    assert refconv.supports.Supports is refconv.Supports
    assert refconv.fills.operands
    assert not {"hypothesis", "matplotlib", "numba", "rich", "torch"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
    assert refconv.verification.layers.DigitLayer is DigitLayer
    assert refconv.verification.misuse.Wrong is Wrong
    with pytest.raises(AttributeError, match="ops_of_old"):
        _ = refconv.verification.ops_of_old
