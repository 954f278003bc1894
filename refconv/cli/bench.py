"""Benchmarks: the time of refconv beside torch's, and a candidate's, over the layers of known networks.

Knows operators, cases, candidates and how they are judged, and rich for its tables; not the command line.
"""

import json
import statistics
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from refconv import ops
from refconv.cases.networks import Layer
from refconv.cli import peers
from refconv.cli.timing import REST, Contender, in_turns, keep_memory, same_threads
from refconv.core import formats
from refconv.core.checks import choice
from refconv.engine.targets.cpu import threads
from refconv.judge.case import Case
from refconv.verification.candidate.call import Unsupported
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.examine.property_names import LAYOUT, RETURNS, VALUES
from refconv.verification.settings import Progress

DTYPES = tuple(map(str, formats.WIDE))
PEERS = ("torch", "onnxruntime")
NETWORKS = ("resnet50", "resnext50_32x4d", "mobilenet_v2", "convnext_tiny")  # measured if no others are named
SECONDS = 0.3
ALL = "all layers"
FASTER = "faster"  # of several peers, layer by layer
UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Row:
    """The measurements of one layer. Times are medians, in seconds.

    Attributes
    ----------
    layer : Layer
        The convolution.
    rounds : int
        How often each peer was timed.
    refconv, peer : float
        Times; of several peers that of the fastest.
    candidate : float or None
        The candidate's time, if it returned something.
    verdict : str
        The judge's verdict on the candidate: "identical", "within bound", "unsupported", or what it violates; empty if
        there is no candidate.
    fault : str
        The verdict at length, if the candidate is wrong.
    peers : dict of str to float
        The time of each peer, if there are several.
    """

    layer: Layer
    rounds: int
    refconv: float
    peer: float
    candidate: float | None = None
    verdict: str = ""
    fault: str = ""
    peers: Mapping[str, float] = field(default_factory=dict)

    def ratio(self) -> float:
        """The peer's time over refconv's: above 1 refconv is faster."""
        return self.peer / self.refconv

    def candidate_ratio(self) -> float | None:
        """The candidate's time over refconv's; None for a wrong one, which may be fast because it is wrong."""
        return None if self.candidate is None or self.fault else self.candidate / self.refconv


@dataclass(frozen=True)
class Setting:
    """One comparison: the dtype of the inputs, and the type in which sums are accumulated."""

    dtype: str
    precision: str

    def __str__(self) -> str:
        return self.dtype if self.dtype == self.precision else f"{self.dtype} with {self.precision} sums"


SETTINGS = (Setting("float32", "float32"), Setting("float64", "float64"), Setting("float32", "float64"))
EXACT = (Setting("float64", "exact"), Setting("float32", "exact"))  # only where they are asked for


def settings(dtypes: Sequence[str] = (), precision: str | None = None) -> tuple[Setting, ...]:
    """The comparisons of these dtypes (of all if none are named) in this precision (in any but "exact" if it is None).

    Raises
    ------
    ValueError
        If there is no such comparison.

    Examples
    --------
    >>> [str(setting) for setting in settings(["float32"])]
    ['float32', 'float32 with float64 sums']
    """
    for dtype in dtypes:
        choice("dtype", dtype, DTYPES)
    if precision is not None:
        choice("precision", precision, formats.PRECISIONS)
    chosen = tuple(
        setting
        for setting in (*SETTINGS, *(EXACT if precision else ()))
        if (not dtypes or setting.dtype in dtypes) and precision in (None, setting.precision)
    )
    if not chosen:
        raise ValueError(f"precision={precision!r}: must be at least as wide as dtype {', '.join(dtypes)}")
    return chosen


def check(against: str = "torch", n_threads: int | None = None) -> None:
    """Refuse a peer or a number of threads that `compare` would refuse, or the absence of the peer."""
    from numba import config

    choice("against", against, PEERS)
    for name in ("torch",) if against == "torch" else ("torch", "onnxruntime", "onnx"):
        if find_spec(name) is None:
            needs = "" if name == against else f" needs {name}, which is"
            raise ModuleNotFoundError(
                f"against={against!r}:{needs} not installed; pip install 'refconv[bench]'", name=name
            )
    most = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined] # made at run time
    if n_threads is not None and not 1 <= n_threads <= most:
        raise ValueError(f"n_threads={n_threads!r}: must be from 1 to {most}, which NUMBA_NUM_THREADS sets")


def compare(
    layers: Sequence[Layer],
    dtype: str = "float32",
    precision: str = "float64",
    *,
    candidate: Candidate | None = None,
    against: str = "torch",
    seconds: float = SECONDS,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[Row, ...]:
    """Time refconv, torch and a candidate on some layers, all in this process, taking turns, each warmed up.

    A turn of refconv goes before each of the others'. refconv and torch use the same number of threads; refconv takes
    NumPy arrays, torch tensors, a candidate what it wants. torch computes in `precision`, beside exact sums in float64:
    if the dtype is narrower, it casts input, weight and result while it is timed. What a side does to its arguments,
    such as packing, counts. Memory that arrays leave stays with the process from here on, see `keep_memory`.

    Parameters
    ----------
    layers : sequence of Layer
        The layers to compute, in this order.
    dtype : {"float32", "float64"}
        The dtype of input, weight and result.
    precision : {"float64", "float32", "exact"}
        Type in which sums are accumulated, as `refconv.conv2d` has it.
    candidate : Candidate, optional
        Judged once on each layer before it is timed; called positionally with arrays of `dtype`.
    against : {"torch", "onnxruntime"}
        The peer. With onnxruntime the faster of it and torch counts: each is timed, and refconv is, in a process of its
        own (`peers`), in three blocks of `seconds`; it computes in float32, and packs weights before it is timed.
    seconds : float
        Each layer is measured for at least so long, and at least `timing.LEAST_ROUNDS` times.
    n_threads : int, optional
        How many threads refconv and torch use, up to Numba's NUMBA_NUM_THREADS; by default as many as refconv would.
    progress : callable, optional
        Called with a label, the number of layers done, and how many there are.

    Raises
    ------
    ValueError, TypeError
        For an argument that is none of these.
    ModuleNotFoundError
        If torch is not installed.

    Examples
    --------
    >>> from refconv.cases.networks import layers
    >>> (row,) = compare(layers("resnet50")[-1:], precision="float32", seconds=0.0)
    >>> row.rounds, row.ratio() == row.peer / row.refconv
    (7, True)
    """
    check(against, n_threads)
    choice("dtype", dtype, DTYPES)
    formats.accumulator(np.dtype(dtype), precision)  # or an error
    label = str(Setting(dtype, precision))
    if against != "torch":
        check_setting(against, Setting(dtype, precision))
        done = partial(_report, progress, label, len(layers))
        times = peers.in_blocks(layers, dtype, precision, seconds, n_threads or threads.count(), done)
        return tuple(
            _among(layer, by_library, candidate, dtype, seconds)
            for layer, by_library in zip(layers, times, strict=True)
        )
    keep_memory()
    rows = []
    with same_threads(n_threads):
        for layer in layers:
            rows.append(_row(layer, layer.case(dtype), precision, candidate, seconds))
            _report(progress, label, len(layers), len(rows))
    return tuple(rows)


def _report(progress: Progress | None, label: str, count: int, done: int) -> None:
    if progress is not None:
        progress(label, done, count)


def check_setting(against: str, setting: Setting) -> None:
    """Refuse a comparison that a peer does not compute."""
    if against == "onnxruntime" and setting != SETTINGS[0]:
        raise ValueError(f"against={against!r}: computes float32 only, with float32 sums; must be torch for {setting}")


def means(rows: Sequence[Row], ratio: Callable[[Row], float | None] = Row.ratio) -> dict[str, float]:
    """Geometric means of a ratio: for each network, then for all layers, each layer with the same weight.

    Layers without a ratio are left out, and so are networks of which none is left.
    """
    groups: dict[str, list[float]] = {}
    for row in rows:
        value = ratio(row)
        if value is not None:
            groups.setdefault(row.layer.network, []).append(value)
    together = [value for values in groups.values() for value in values]
    return {name: statistics.geometric_mean(values) for name, values in (*groups.items(), (ALL, together)) if values}


def sound(rows: Sequence[Row]) -> bool:
    """Whether the candidate, if there is one, is right on every layer that it supports, and supports any."""
    verdicts = {row.verdict for row in rows}
    return not any(row.fault for row in rows) and verdicts != {UNSUPPORTED}


def table(rows: Sequence[Row], setting: Setting, against: str = "torch") -> Table:
    """Times in milliseconds and ratios, a line for each layer."""
    judged = any(row.verdict for row in rows)
    several = list(rows[0].peers) if rows else []
    peer = FASTER if several else against
    columns = ["refconv\nms", *(f"{name}\nms" for name in several or [against]), f"{peer}/\nrefconv"]
    lines = _table(str(setting), ("layer", "input -> output channels,\nkernel"), columns)
    if judged:
        for title in ("candidate\nms", "candidate/\nrefconv"):
            lines.add_column(title, justify="right")
        lines.add_column("candidate is")
    network = ""
    for row in rows:
        if row.layer.network != network:
            network = row.layer.network
            lines.add_section()
            lines.add_row(network)
        theirs = [_milliseconds(row.peers[name]) for name in several] or [_milliseconds(row.peer)]
        times = [_milliseconds(row.refconv), *theirs, _ratio(row.ratio())]
        if judged:
            times += [_milliseconds(row.candidate), _ratio(row.candidate_ratio()), row.verdict]
        lines.add_row(f"  {row.layer.name}", str(row.layer), *times)
    return lines


def summary(results: dict[Setting, tuple[Row, ...]], against: str = "torch") -> Table:
    """The geometric means of the ratios, a line for each network."""
    peer = against if against == "torch" else FASTER
    columns = {f"{peer}/refconv\n{setting}": means(rows) for setting, rows in results.items()}
    for setting, rows in results.items():
        if any(row.verdict for row in rows):
            columns[f"candidate/refconv\n{setting}"] = means(rows, Row.candidate_ratio)
    lines = _table("geometric means", ("network",), columns)
    for name in (*dict.fromkeys(row.layer.network for rows in results.values() for row in rows), ALL):
        lines.add_row(name, *(_ratio(column.get(name)) for column in columns.values()))
    return lines


def as_json(results: dict[Setting, tuple[Row, ...]], environment: dict[str, str], against: str = "torch") -> str:
    """Everything that was measured, and where."""
    comparisons = [
        {
            **asdict(setting),
            "against": against,
            "geometric_means": means(rows),
            "candidate_geometric_means": means(rows, Row.candidate_ratio),
            "rows": [{**asdict(row), "ratio": row.ratio(), "candidate_ratio": row.candidate_ratio()} for row in rows],
        }
        for setting, rows in results.items()
    ]
    return json.dumps({"environment": environment, "comparisons": comparisons}, indent=2) + "\n"


def _among(layer: Layer, times: dict[str, float], candidate: Candidate | None, dtype: str, seconds: float) -> Row:
    """A row of what was timed in processes; a candidate is judged and timed here, where nothing else runs."""
    ours, others = times["refconv"], {name: time for name, time in times.items() if name != "refconv"}
    verdict, fault, its_time = "", "", None
    if candidate is not None:
        case = layer.case(dtype)
        verdict, fault, returns = _judged(candidate, case)
        if returns:
            try:
                its_time = peers.block(partial(_raising, candidate.function, *candidate.arguments(case)), seconds)
            except _Raised as error:  # when it was judged, it did not
                verdict, fault = f"wrong: {RETURNS}", str(error)
    return Row(layer, peers.BLOCKS, ours, min(others.values()), its_time, verdict, fault, others)


def _row(layer: Layer, case: Case, precision: str, candidate: Candidate | None, seconds: float) -> Row:
    contenders = [peers.torch_call(case, "float64" if precision == "exact" else precision)]
    verdict = fault = ""
    if candidate is not None:
        verdict, fault, returns = _judged(candidate, case)
        if returns:
            contenders.append(partial(_raising, candidate.function, *candidate.arguments(case)))
    ours = partial(getattr(ops, layer.op), *case.arguments(), precision=precision)
    try:
        rest = REST if len(contenders) > 1 else 0.0
        (time_of_ours, time_of_peer, *times), rounds = in_turns(ours, contenders, seconds, rest)
    except _Raised as error:  # when it was judged, it did not
        verdict, fault = f"wrong: {RETURNS}", str(error)
        (time_of_ours, time_of_peer, *times), rounds = in_turns(ours, contenders[:1], seconds)
    return Row(layer, rounds, time_of_ours, time_of_peer, times[0] if times else None, verdict, fault)


class _Raised(Exception):
    """A candidate has raised while it was timed."""


def _raising(function: Contender, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        raise _Raised("".join(traceback.format_exception(error))) from error


def _judged(candidate: Candidate, case: Case) -> tuple[str, str, bool]:
    """A verdict in a word or two, what is wrong, and whether anything comes back that can be timed."""
    try:
        outcome = candidate.call(case)
    except Unsupported:
        return UNSUPPORTED, "", False
    for property_, text in outcome.faults:
        return f"wrong: {property_}", text, property_ != RETURNS
    comparison = case.check(outcome.result)
    if comparison.ok:
        return comparison.verdict, "", True
    return f"wrong: {LAYOUT if comparison.problem else VALUES}", str(comparison), True


def _table(title: str, names: Iterable[str], figures: Iterable[str]) -> Table:
    """An empty table; figures stand to the right of their column."""
    lines = Table(*names, title=title, box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in figures:
        lines.add_column(name, justify="right")
    return lines


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.3f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
