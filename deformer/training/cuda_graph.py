"""A function of tensors, recorded once as a CUDA graph and replayed from then on.

A small network's step is thousands of kernels of microseconds each, and launching them one by one
takes longer than running them. A replay launches all of them at once.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten


class Recorded:
    """A function that is recorded at its first call.

    function: takes tuples, lists and dicts of tensors and gives such. It must take the same path
    whatever their values, never wait for the device, and leave no gradient from one call to the
    next: those that it makes lie in memory of the graph, and every call makes them anew.

    What a call returns is overwritten by the next one. Raises `ValueError` where a later call has
    other shapes than the first one.
    """

    def __init__(
        self, function: Callable[..., Any], forget: Callable[[], None], warm_ups: int = 3
    ) -> None:
        """forget: drops the gradients, between calls that warm up and the recording. warm_ups: so
        many; 0 for a function that changes what it works on."""
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


class RecordedStep:
    """The two halves of a step that are replayed; what is between them looks at the gradient."""

    def __init__(self, learn_from: Callable[..., Any], optimizer: torch.optim.Optimizer) -> None:
        """learn_from: makes the gradients."""
        self._optimizer = optimizer
        self.learn_from = Recorded(learn_from, optimizer.zero_grad)
        self._apply: Recorded | None = None

    def apply(self) -> None:
        """The optimizer's step. Adam makes its state in its first one, which is not recorded."""
        if self._apply:
            self._apply()
        else:
            self._optimizer.step()
            self._apply = Recorded(self._optimizer.step, lambda: None, warm_ups=0)


def _on_device(value: Any) -> Any:
    return value.cuda(non_blocking=True).clone() if isinstance(value, Tensor) else value
