"""Candidates for processes of their own: they crash, hang, or remember. Imported by name there."""

import os
import signal
import time
from pathlib import Path

import refconv


def conv2d(*arguments):
    return refconv.conv2d(*arguments)


def segmentation_fault(input, weight, bias, stride, *rest):
    if stride[1] > 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    return refconv.conv2d(input, weight, bias, stride, *rest)


def aborts(input, weight, bias, stride, padding, dilation, groups):
    if groups > 1:
        os.abort()
    return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)


def loses_its_device(input, weight, bias, stride, *rest):
    """Takes tensors of a device that is of no use any more after a wrong access, as a GPU is."""
    import torch

    def lost(*_):
        raise RuntimeError("an illegal memory access was encountered")

    if stride[1] > 1:
        torch.cpu.synchronize = torch.from_numpy = lost
    return torch.nn.functional.conv2d(input, weight, bias, stride, *rest)


loses_its_device.device = "cpu:0"


def never_returns(input, weight, bias, stride, padding, dilation, groups):
    while dilation[0] > 1:
        time.sleep(1)
    return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)


def prints(*arguments):
    print("what a candidate prints is no answer")  # noqa: T201
    return refconv.conv2d(*arguments)


calls, stops = [], set()


def counts(*arguments):
    """Is interrupted at the call that `stops` names."""
    calls.append(1)
    if len(calls) in stops:
        raise KeyboardInterrupt
    return refconv.conv2d(*arguments)


packed = {}


def remembers_weights(input, weight, *rest):
    key = (input.shape, weight.shape, *rest[1:])
    return refconv.conv2d(input, packed.setdefault(key, weight.copy()), *rest)


def raises(*_):
    raise RuntimeError("no")


def wrong_stride(input, weight, bias, stride, *rest):
    return refconv.conv2d(input, weight, bias, (stride[0], stride[0]), *rest)


def kills_the_first_worker(input, weight, *rest):
    """Takes the executor's own process down, once: as the out-of-memory killer does."""
    marker = Path(os.environ["REFCONV_TEST_MARKER"])
    if not marker.exists():
        marker.touch()
        os.kill(os.getppid(), 9)
    return refconv.conv2d(input, weight, *rest)


def depthwise_only(case):
    return case.groups == case.geometry.in_channels


def slow_if_dilated(input, weight, bias, stride, padding, dilation, groups):
    if dilation[0] > 1:
        time.sleep(1.6)
    return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)
