"""What several test modules share."""

from refconv import conv2d

FLOATS = ("float32", "float64")
ALL = (*FLOATS, "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
MODES = ("zeros", "reflect", "replicate", "circular")


def call(case, **options):
    """`conv2d` with a case's arguments."""
    return conv2d(*case.arguments(), padding_mode=case.padding_mode, **options)


def same_bits(left, right):
    """Equality of dtype, shape and bits; NaN payloads and signs of zero count."""
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
