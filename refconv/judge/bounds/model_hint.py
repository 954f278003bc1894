"""Texts that are nearly those of an error model: what they may have been meant to be.

Knows which words there are; whether a text is a model's says a function.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches

from refconv.core import formats
from refconv.judge.bounds.flush import NAMES
from refconv.judge.bounds.operands import FORMATS

KEYWORDS = (
    "operands", "inputs", "weights", "results", "sums", "store", "accumulator", "transforms", "points", "block",
    "fraction_bits", "flush_to_zero",
)  # fmt: skip
WORDS = (
    *FORMATS, *map(str, formats.FLOATS), *KEYWORDS, *NAMES, "bias_after_rounding", "nearest", "truncate",
    "V100", "T4", "A100", "H100",
)  # fmt: skip
ABBREVIATED = {
    "fp16": "float16", "f16": "float16", "half": "float16", "fp32": "float32", "f32": "float32", "single": "float32",
    "fp64": "float64", "f64": "float64", "double": "float64", "bf16": "bfloat16", "ftz": "flush_to_zero",
    "daz": "flush_to_zero=inputs+weights", "trunc": "truncate", "truncated": "truncate",
}  # fmt: skip


def meant(text: str, names: Sequence[str], canonical: Callable[[str], str | None]) -> str:
    """The text that was meant by one that is no model's, as `canonical` writes it; empty if none is near.

    Parameters
    ----------
    text
        No model's.
    names
        The names of models.
    canonical
        The usual form of the text of a model; None for other texts.

    Examples
    --------
    >>> usual = {"direct:flush_to_zero": "direct:float32,flush_to_zero"}
    >>> meant("direct,flush-to-zero", ["direct"], usual.get)
    'direct:float32,flush_to_zero'
    """
    for candidate in _candidates(text.strip(), names):
        usual = canonical(candidate)
        if usual is not None:
            return usual
    return ""


def _candidates(text: str, names: Sequence[str]) -> Iterator[str]:
    """Texts that are near, the nearest first."""
    for name, arguments in _named(text, names):
        yield name + (f":{arguments}" if arguments else "")
        mended = ",".join(_argument(argument) for argument in re.split(r"[,:\s]+", arguments) if argument)
        yield name + (f":{mended}" if mended else "")


def _named(text: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The names that a text may begin with, each with what follows."""
    for name in sorted(names, key=len, reverse=True):
        if re.match(rf"{name}(?![a-z0-9])", text):
            yield name, text[len(name) :].lstrip(" :,;-_/(").rstrip(")")
    first, _, rest = re.sub(r"[:,;\s(]", ":", text, count=1).partition(":")
    for name in get_close_matches(first.lower(), names, n=2, cutoff=0.7):
        yield name, rest.rstrip(")")


def _argument(argument: str) -> str:
    """An argument with the nearest words in place of those that there are not: "keyword=value", or "value".

    >>> _argument("bfloat16-operands"), _argument("result=bf16"), _argument("flush-to-zero"), _argument("4")
    ('operands=bfloat16', 'results=bfloat16', 'flush_to_zero', '4')
    """
    keyword, _, value = argument.rpartition("=")
    first, dash, second = argument.partition("-")
    if not keyword and dash and (second in KEYWORDS or first in KEYWORDS):
        keyword, value = (second, first) if second in KEYWORDS else (first, second)
    return "=".join(_word(part) for part in (keyword, value) if part)


def _word(word: str) -> str:
    """The word itself, if it is known or no word, or the nearest one; of several with "+" between them, each."""
    if "+" in word:
        return "+".join(map(_word, word.split("+")))
    plain = word.lower().replace("-", "_")
    if word in WORDS or not re.fullmatch("[a-z_][a-z_0-9]*", plain):
        return word
    lowered = {known.lower(): known for known in WORDS}
    near = lowered.get(plain) or ABBREVIATED.get(plain)
    return near or next(iter(get_close_matches(plain, WORDS, n=1, cutoff=0.7)), word)
