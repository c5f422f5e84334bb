"""Backward passes that skip the zeros: a detection has gradients in a part of each layer only."""

from contextlib import contextmanager
from typing import Iterator, Optional, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.utils import _pair as pair
from torch.overrides import TorchFunctionMode

WORTHWHILE = 0.5
"""
Where gradients fill a larger share of a layer than this, cutting them out hardly pays
(BENCHMARKS.md).
"""

Window = Tuple[slice, slice]


@contextmanager
def skipping_zeros(enabled: bool = True) -> Iterator[None]:
    """
    Convolutions computed inside propagate backwards only the window of their gradient that is not
    zero.

    The gradients to their inputs are the same up to rounding, as what is left out is zero.
    Convolutions that are being trained are left as they are, and so is a GPU, which would have to
    wait for the size of each window.
    """
    if not enabled:
        yield
        return
    with _SparseConvolutions():
        yield


class _SparseConvolutions(TorchFunctionMode):
    """
    Replaces convolutions where torch dispatches functions: Detectron2 calls them as functions.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.conv2d and torch.is_grad_enabled() and not _computed_again():
            return _conv2d(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _computed_again() -> bool:
    """
    Say whether what is computed may be computed again in the backward pass
    (torch.utils.checkpoint).

    That happens outside of the mode and has to save the same tensors, so such convolutions are left
    as they are. Torch shows it by the hooks for saved tensors that a checkpoint sets; old versions
    do not.
    """
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is not None and hooks(True) is not None


def _conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    trained = weight.requires_grad or (bias is not None and bias.requires_grad)
    is_plain = input.dim() == 4 and input.device.type == "cpu" and not isinstance(padding, str)
    if trained or not input.requires_grad or not is_plain:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return _SparseConv2d.apply(
        input, weight, bias, pair(stride), pair(padding), pair(dilation), groups
    )


class _SparseConv2d(torch.autograd.Function):
    """``F.conv2d``; its backward transposes the convolution on the gradient's window alone."""

    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor, bias: Optional[Tensor], stride, padding, dilation, groups
    ) -> Tensor:
        y = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
        ctx.save_for_backward(weight.to(y.dtype))  # another one under autocast
        ctx.x_shape, ctx.stride, ctx.padding, ctx.dilation, ctx.groups = (
            x.shape,
            stride,
            padding,
            dilation,
            groups,
        )
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        (weight,) = ctx.saved_tensors
        window = _nonzero_window(gradient)
        if window is None:
            return _only_to_x(gradient.new_zeros(ctx.x_shape))
        part = gradient[(..., *window)]
        if part[0, 0].numel() > WORTHWHILE * gradient[0, 0].numel():
            return _only_to_x(_to_input(gradient, ctx.x_shape, weight, ctx.padding, ctx))
        # The window's own receptive field, padding included, begins at ``first`` and has ``size``.
        first = [w.start * s - p for w, s, p in zip(window, ctx.stride, ctx.padding)]
        kernel = [d * (k - 1) + 1 for d, k in zip(ctx.dilation, weight.shape[-2:])]
        size = [(n - 1) * s + k for n, s, k in zip(part.shape[-2:], ctx.stride, kernel)]
        part = _to_input(
            part.contiguous(memory_format=_layout(gradient)),
            (*ctx.x_shape[:2], *size),
            weight,
            (0, 0),
            ctx,
        )
        whole = _empty_like(gradient, ctx.x_shape).zero_()
        inside = [
            slice(max(f, 0), min(f + n, length))
            for f, n, length in zip(first, size, ctx.x_shape[-2:])
        ]
        cut = [slice(i.start - f, i.stop - f) for i, f in zip(inside, first)]
        whole[..., inside[0], inside[1]] = part[..., cut[0], cut[1]]
        return _only_to_x(whole)


def _only_to_x(gradient: Tensor) -> tuple:
    return (gradient, *[None] * 6)


def _nonzero_window(gradient: Tensor) -> Optional[Window]:
    """
    The smallest rows and columns of (B, C, H, W) that hold all that is not zero; None if nothing
    is.
    """
    # Two reductions read the gradient once each; (gradient != 0).any() would also write as much.
    nonzero = ((gradient.amax(1) != 0) | (gradient.amin(1) != 0)).any(0)
    rows, columns = (nonzero.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if rows else None


def _to_input(gradient: Tensor, shape, weight: Tensor, padding, ctx) -> Tensor:
    # The gradient to the input depends only on its shape, type and layout.
    x = _empty_like(gradient, shape)
    conv = (ctx.stride, padding, ctx.dilation, False, [0, 0], ctx.groups)
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, *conv, [True, False, False]
    )[0]


def _layout(x: Tensor) -> torch.memory_format:
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if channels_last else torch.contiguous_format


def _empty_like(gradient: Tensor, shape) -> Tensor:
    return torch.empty(
        shape, dtype=gradient.dtype, device=gradient.device, memory_format=_layout(gradient)
    )
