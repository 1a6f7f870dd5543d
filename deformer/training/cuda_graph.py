"""Functions of tensors that are recorded once as a CUDA graph and then replayed.

A step of a small network runs thousands of kernels of microseconds each; launching them one by one
takes longer than running them. A replay launches all of them at once.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten


class CudaGraphFunction:
    """A function that is recorded at its first call.

    function: takes and returns tuples, lists and dicts of tensors. Its path must not depend on
    their values, it must never wait for the device, and it must keep no gradients between calls:
    every call makes them anew, in memory of the graph.

    The next call overwrites the result of this one. Raises `ValueError` when a later call has other
    shapes than the first.
    """

    def __init__(
        self, function: Callable[..., Any], forget: Callable[[], None], warm_ups: int = 3
    ) -> None:
        """forget: drops the gradients before each warm-up call and before the recording. warm_ups:
        number of warm-up calls; 0 if the function has side effects."""
        self._function, self._forget, self._warm_ups = function, forget, warm_ups
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._result: Any = None

    def __call__(self, *arguments: Any) -> Any:
        given, form = tree_flatten(arguments)
        if self._graph is None:
            self._record([_on_device(value) for value in given], form)
        for place, value in zip(self._inputs, given, strict=True):
            if isinstance(place, Tensor):
                if place.shape != value.shape:
                    raise ValueError(
                        f"a step of shape {tuple(value.shape)} after one of {tuple(place.shape)}: "
                        "a recorded step has one shape; train without --cuda-graph"
                    )
                place.copy_(value, non_blocking=True)
        self._graph.replay()
        return self._result

    def _record(self, inputs: list[Any], form: Any) -> None:
        self._inputs = inputs
        arguments = tree_unflatten(inputs, form)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(self._warm_ups):  # libraries choose their kernels and reserve memory
                self._forget()
                self._function(*arguments)
        torch.cuda.current_stream().wait_stream(side)
        self._forget()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            result = self._function(*arguments)
        self._result = tree_map_only(Tensor, Tensor.detach, result)


class CudaGraphStep:
    """The two replayed halves of a training step; between them, the gradient can be checked."""

    def __init__(self, learn_from: Callable[..., Any], optimizer: torch.optim.Optimizer) -> None:
        """learn_from: computes the gradients."""
        self._optimizer = optimizer
        self.learn_from = CudaGraphFunction(learn_from, optimizer.zero_grad)
        self._apply: CudaGraphFunction | None = None

    def apply(self) -> None:
        """The optimizer's step. The first is not recorded, because Adam creates its state in it."""
        if self._apply:
            self._apply()
        else:
            self._optimizer.step()
            self._apply = CudaGraphFunction(self._optimizer.step, lambda: None, warm_ups=0)


def _on_device(value: Any) -> Any:
    return value.cuda(non_blocking=True).clone() if isinstance(value, Tensor) else value
