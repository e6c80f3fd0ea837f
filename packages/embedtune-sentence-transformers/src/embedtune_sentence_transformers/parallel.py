"""Groups of a batch through the model side by side, each on cores of its own."""

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

__all__ = ["SideBySide"]

_MOST_THREADS = 4
"""Each has gradients of its own, as large as the weights that are trained."""

_Group = dict[str, Tensor]
_T = TypeVar("_T")


class SideBySide:
    """Encodes groups of texts, on a CPU several at once.

    PyTorch splits every matrix product among the cores and waits for the last of them; products as small as these
    leave half of the time in waiting. Here each core goes through groups of its own and waits once a step. Groups are
    dealt out by their size alone and gradients are added in one order, so that the same batch gives the same figures.

    Args:
        model: The model in training. Each thread has a replica, which shares its weights and has gradients of its
            own until they are added to the model's.
        precision: ``"fp32"``, or ``"bf16"`` for autocast.
    """

    def __init__(self, model: SentenceTransformer, precision: str) -> None:
        self.model = model
        self._is_mixed = precision == "bf16"
        self._replicas: list[SentenceTransformer] = []
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, groups: Sequence[_Group]) -> Tensor:
        """Vectors, float32 of shape (n_texts, d), in the order of the groups."""
        n_threads = min(torch.get_num_threads(), len(groups), _MOST_THREADS)
        if n_threads < 2 or not self._is_fit():
            with torch.autocast(self.model.device.type, torch.bfloat16, self._is_mixed):
                return torch.cat([_vectors(self.model, group) for group in groups])
        self._prepare(n_threads)
        if not torch.is_grad_enabled():
            return torch.cat(self._forward(groups, _dealt(groups, n_threads)))
        trigger = torch.zeros((), requires_grad=True)
        vectors: Tensor = _Encoded.apply(trigger, self, list(groups), n_threads)  # type: ignore[no-untyped-call]
        return vectors

    def _is_fit(self) -> bool:
        """Dropout draws from one generator, in an order that threads would change."""
        return self.model.device.type == "cpu" and not any(
            isinstance(module, nn.Dropout) and module.training and module.p > 0 for module in self.model.modules()
        )

    def _prepare(self, n_threads: int) -> None:
        if self._pool is None:
            self._pool = _pool(min(torch.get_num_threads(), _MOST_THREADS))
        while len(self._replicas) < n_threads:
            self._replicas.append(_replica(self.model))
        for replica in self._replicas:
            for module, same in zip(self.model.modules(), replica.modules(), strict=True):
                same.training = module.training
            for own, shared in zip(self.model.parameters(), replica.parameters(), strict=True):
                shared.data = own.data
                shared.requires_grad_(own.requires_grad)

    def _forward(self, groups: Sequence[_Group], shares: Sequence[Sequence[int]]) -> list[Tensor]:
        """The groups' vectors, each with its graph where gradients are wanted."""
        has_graph = torch.is_grad_enabled()

        def encode(model: SentenceTransformer, places: Sequence[int]) -> list[Tensor]:
            # Autocast's cache is one for all threads, and emptied when any of them is done.
            with (
                torch.set_grad_enabled(has_graph),
                torch.autocast("cpu", torch.bfloat16, self._is_mixed, cache_enabled=False),
            ):
                return [_vectors(model, groups[place]) for place in places]

        vectors: dict[int, Tensor] = {}
        for places, found in zip(shares, self._at_once(encode, shares), strict=True):
            vectors.update(zip(places, found, strict=True))
        return [vectors[place] for place in range(len(groups))]

    def _backward(
        self, vectors: Sequence[Tensor], gradients: Sequence[Tensor], shares: Sequence[Sequence[int]]
    ) -> None:
        """Add the gradients of the weights to the model's."""

        def descend(model: SentenceTransformer, places: Sequence[int]) -> None:
            torch.autograd.backward([vectors[place] for place in places], [gradients[place] for place in places])

        self._at_once(descend, shares)
        for replica in self._replicas:
            for own, other in zip(self.model.parameters(), replica.parameters(), strict=True):
                if other.grad is not None:
                    own.grad = other.grad if own.grad is None else own.grad.add_(other.grad)
                    other.grad = None

    def _at_once(
        self, work: Callable[[SentenceTransformer, Sequence[int]], _T], shares: Sequence[Sequence[int]]
    ) -> list[_T]:
        assert self._pool is not None
        futures = [self._pool.submit(work, *share) for share in zip(self._replicas, shares, strict=False)]
        return [future.result() for future in futures]


class _Encoded(torch.autograd.Function):
    """Vectors whose gradient goes down the groups' own graphs, in threads."""

    @staticmethod
    def forward(ctx: Any, trigger: Tensor, side: SideBySide, groups: list[_Group], n_threads: int) -> Tensor:
        """``trigger`` asks for a gradient, so that backward is called; its value is nothing."""
        ctx.side, ctx.shares = side, _dealt(groups, n_threads)
        with torch.enable_grad():
            ctx.vectors = side._forward(groups, ctx.shares)
        return torch.cat([vectors.detach() for vectors in ctx.vectors])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The weights get their gradients here; none is returned."""
        parts = torch.split(gradients[0], [len(vectors) for vectors in ctx.vectors])
        ctx.side._backward(ctx.vectors, parts, ctx.shares)
        ctx.vectors = None
        return None, None, None, None


def _replica(model: SentenceTransformer) -> SentenceTransformer:
    """The same modules over the same weights."""
    shared = {id(own): nn.Parameter(own.data, own.requires_grad) for own in model.parameters()}
    replica = copy.deepcopy(model, dict(shared))
    # Accelerate's wrapper of it enters one autocast for all threads, cache and all.
    vars(replica).pop("forward", None)
    return replica


def _pool(n_threads: int) -> ThreadPoolExecutor:
    """Threads of which each computes on its share of the cores."""
    n_cores, barrier = torch.get_num_threads(), threading.Barrier(n_threads)

    def begin() -> None:
        torch.set_num_threads(n_cores // n_threads)
        barrier.wait()

    pool = ThreadPoolExecutor(n_threads, "groups", begin)
    for future in [pool.submit(barrier.wait) for _ in range(n_threads)]:
        future.result()
    torch.set_num_threads(n_cores)  # PyTorch takes the last number that was set for threads that are yet to come
    return pool


def _vectors(model: SentenceTransformer, group: _Group) -> Tensor:
    vectors: Tensor = model(group)["sentence_embedding"].float()
    return vectors


def _dealt(groups: Sequence[_Group], n_threads: int) -> list[list[int]]:
    """Places of the groups for each thread: the largest first, to the one with least."""
    sizes = [sum(value.numel() for value in group.values() if isinstance(value, Tensor)) for group in groups]
    shares: list[list[int]] = [[] for _ in range(n_threads)]
    loads = [0] * n_threads
    for place in sorted(range(len(groups)), key=lambda place: (-sizes[place], place)):
        least = loads.index(min(loads))
        shares[least].append(place)
        loads[least] += sizes[place]
    return shares
