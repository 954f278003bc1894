"""Rules: what is typical of each class of mistakes; the first that holds counts.

Knows findings; not how they are obtained.
"""

from collections.abc import Callable

from refconv.core.operators import INPUT, TRANSPOSED, WEIGHT, is_transposed, kind_of, like
from refconv.verification.diagnose.findings import Findings, Suspect
from refconv.verification.examine import property_names

# (class, conditions, classes): a mistake of one of `classes` (of any if empty), made under one of `conditions` only, is
# one of `class`.
GATES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("degenerate", ("output of one pixel", "no images"), ()),
    ("layout_stride", ("input not", "weight not", "grad_output not", "layout"), ()),
    ("nonfinite", ("NaN or infinity",), ()),
    ("large_index", ("an axis of 65536", "more than 65535"), ()),
    ("pad_side", ("padding mode", "unequal sides", "padding on one side", "padding 'same'"), ("param_ignored",)),
    (
        "fastpath_gate",
        (
            "dilation",
            "even dilation",
            "stride",
            "1x1",
            "3x3",
            "kernel 1",
            "even kernel",
            "narrow",
            "8-bit",
            "channels of a group a",
            "filters of a group a",
            "channels a",
            "filters a",
            "at least",
        ),
        ("param_ignored", "axis_mixup", "groups_indexing"),
    ),
)


def gated(mutant: Suspect, gate: tuple[str, ...]) -> str:
    """The class of a mutant's mistake when it is made under a condition only."""
    if mutant.name.startswith("bias"):
        return "bias_handling"
    for kind, conditions_, kinds in GATES:
        if any(condition.startswith(conditions_) for condition in gate) and (not kinds or mutant.kind in kinds):
            return kind
    return mutant.kind


OF_REGIONS = ("tile_tail", "pad_boundary", "large_index")

# The class of a mistake for which single calls are right, by the property that does not hold.
FAULTS = {
    property_names.STALE: "state_race",
    property_names.DETERMINISTIC: "state_race",
    property_names.INPUTS: "state_race",
    property_names.VIEWS: "layout_stride",
    property_names.OUTSIDE: "layout_stride",
    property_names.BATCH: "batch_reduction",
    property_names.GROUPS: "groups_indexing",
    property_names.ERRORS: "degenerate",
}

# What is right where it is no single call that is.
TOGETHER = {
    property_names.STALE: "as the first call it is right: it keeps something from call to call",
    property_names.BATCH: "all images together are right, one of them alone is wrong",
    property_names.GROUPS: "all groups together are right, one of them alone is wrong",
}

# What is typical of a class; the first that holds counts.
RULES: tuple[tuple[str, Callable[[Findings], bool]], ...] = (
    ("degenerate", lambda f: f.when("no images", "an empty axis", "output of one pixel") or f.shared >= {"no images"}),
    ("state_race", lambda f: not f.repeatable and not f.where("last", "rows beyond", "columns beyond")),
    ("large_index", lambda f: f.when("an axis of", "more than 65535", "more than 255")),
    ("layout_stride", lambda f: f.when("layout") or any("not contiguous" in c for c in f.conditions) or f.lie_so),
    ("nonfinite", lambda f: "NaN or infinity" in f.shared),
    ("quant_padding", lambda f: f.op in ("conv2d_integer", "conv2d_quantized") and f.when("padding", "zero points")),
    ("bias_handling", lambda f: f.when("bias") or "the bias is missing or another channel's" in f.values),
    ("axis_mixup", lambda f: any("other axis" in size for size in f.sizes)),
    ("groups_indexing", lambda f: bool(f.sizes) and f.when("groups", "depthwise", "grouped")),
    ("shape_formula", lambda f: bool(f.sizes) and f.when("padding 'same'") and f.when("dilation", "even dilation")),
    ("pad_side", lambda f: f.when("unequal sides", "padding 'same'", "padding mode", "padding on one side")),
    ("shape_formula", lambda f: bool(f.sizes) and like(f.op) in ("output", "bias")),
    ("shape_formula", lambda f: kind_of(f.op) == TRANSPOSED and any(": without" in size for size in f.sizes)),
    ("transposed_geometry", lambda f: bool(f.sizes) and kind_of(f.op) == TRANSPOSED),
    ("bwd_geometry", lambda f: bool(f.sizes)),
    ("quant_padding", lambda f: f.where("where") and "8-bit integers" in f.shared),
    ("pad_boundary", lambda f: f.where("where") or f.when("output smaller")),
    ("pad_boundary", lambda f: f.where("last row", "last column") and "even kernel" in f.shared),
    ("fastpath_gate", lambda f: f.where("rows off", "columns off")),
    ("batch_reduction", lambda f: f.where("images after") or f.when("more than one image")),
    ("batch_reduction", lambda f: "the right values in other places" in f.values and "more than one image" in f.shared),
    ("groups_indexing", lambda f: f.where("groups after", "last group") and "groups > 1" in f.shared),
    ("tile_tail", lambda f: f.when("channels no", "channels of a group no", "filters of a group no", "taps no")),
    ("tile_tail", lambda f: f.where("last", "rows beyond", "columns beyond", "channels beyond", "pixels beyond")),
    ("transposed_geometry", lambda f: is_transposed(f.op) and f.when("output padding", "padding")),
    ("bwd_geometry", lambda f: f.when("dilation", "even dilation") and kind_of(f.op) in (INPUT, WEIGHT)),
    ("param_ignored", lambda f: f.when("dilation", "even dilation")),
    ("groups_indexing", lambda f: f.when("groups", "depthwise", "grouped")),
    ("groups_indexing", lambda f: "the right values in other places" in f.values and "groups > 1" in f.shared),
    ("accum_dtype", lambda f: any(value.startswith("off by multiples") for value in f.values)),
    ("accum_dtype", lambda f: not any(case.wrong.any() for case in f.failing)),
    ("axis_mixup", lambda f: f.when("unequal")),
    ("fastpath_gate", lambda f: f.when("1x1", "3x3", "narrow")),
    ("pad_boundary", lambda f: f.when("padding")),
    ("param_ignored", lambda f: f.when("stride")),
    ("accum_dtype", lambda f: f.when("sums of more", "real numbers", "8-bit")),
    ("axis_mixup", lambda f: any(trait.startswith("unequal") for trait in f.leaning)),
    ("kernel_orientation", lambda f: any(trait.startswith("kernel longer") for trait in (*f.conditions, *f.leaning))),
)
