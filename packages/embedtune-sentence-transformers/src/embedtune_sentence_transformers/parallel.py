"""Groups of a batch through the model side by side, each on cores of its own."""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

__all__ = ["SideBySide"]

_MOST_THREADS = 4
"""Each has a gradient of its own, as large as the weights that are trained."""

_Group = dict[str, Tensor]


class SideBySide:
    """Encodes groups of texts, on a CPU several at once.

    PyTorch splits every matrix product among the cores and waits for the last of them; products as small as these
    leave half of the time in waiting. Here each core goes through groups of its own and waits once a step. Groups are
    dealt out by their size alone and gradients are added in one order, so that the same batch gives the same figures.

    Args:
        model: The model in training; replicas share its weights and have gradients of their own until they are added.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model
        self._replicas: list[SentenceTransformer] = []
        self._pool: ThreadPoolExecutor | None = None
        self._trigger = torch.zeros((), requires_grad=True)

    def __call__(self, groups: Sequence[_Group]) -> Tensor:
        """Vectors, float32 of shape (n_texts, d), in the order of the groups."""
        n_threads = min(torch.get_num_threads(), len(groups), _MOST_THREADS)
        if n_threads < 2 or not torch.is_grad_enabled() or not self._is_fit():
            return torch.cat([_vectors(self.model, group) for group in groups])
        self._prepare(n_threads)
        vectors: Tensor = _Encoded.apply(self._trigger, self, list(groups), n_threads)  # type: ignore[no-untyped-call]
        return vectors

    def _is_fit(self) -> bool:
        """Dropout draws from one generator, in an order that threads would change."""
        return self.model.device.type == "cpu" and not any(
            isinstance(module, torch.nn.Dropout) and module.p > 0 for module in self.model.modules()
        )

    def _prepare(self, n_threads: int) -> None:
        own = list(self.model.parameters())
        for replica in self._replicas:
            if any(one.data_ptr() != other.data_ptr() for one, other in zip(own, replica.parameters(), strict=True)):
                self._replicas = []
                break
        while len(self._replicas) < n_threads - 1:
            replica = copy.deepcopy(self.model)
            for one, other in zip(own, replica.parameters(), strict=True):
                other.data = one.data
                other.grad = None
            self._replicas.append(replica)
        for replica in self._replicas:
            replica.train(self.model.training)
        if self._pool is None:
            n_cores = torch.get_num_threads()
            self._pool = ThreadPoolExecutor(_MOST_THREADS, "groups", torch.set_num_threads, (n_cores // n_threads,))

    def forward(self, groups: Sequence[_Group], n_threads: int) -> list[Tensor]:
        """The groups' vectors, each with its graph."""
        shares = _dealt(groups, n_threads)
        is_mixed, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        def encode(model: SentenceTransformer, places: Sequence[int]) -> list[Tensor]:
            with torch.enable_grad(), torch.autocast("cpu", dtype, enabled=is_mixed, cache_enabled=False):
                return [_vectors(model, groups[place]) for place in places]

        vectors: dict[int, Tensor] = {}
        for places, found in zip(shares, self._at_once(encode, shares), strict=True):
            vectors.update(zip(places, found, strict=True))
        return [vectors[place] for place in range(len(groups))]

    def backward(self, vectors: Sequence[Tensor], gradients: Sequence[Tensor], shares: Sequence[Sequence[int]]) -> None:
        """Add the gradients of the weights to the model's."""

        def descend(model: SentenceTransformer, places: Sequence[int]) -> None:
            torch.autograd.backward([vectors[place] for place in places], [gradients[place] for place in places])

        self._at_once(descend, shares)
        for replica in self._replicas:
            for one, other in zip(self.model.parameters(), replica.parameters(), strict=True):
                if other.grad is not None:
                    one.grad = other.grad if one.grad is None else one.grad.add_(other.grad)
                    other.grad = None

    def _at_once(self, work: Any, shares: Sequence[Sequence[int]]) -> list[Any]:
        assert self._pool is not None
        models = [self.model, *self._replicas]
        futures = [self._pool.submit(work, model, places) for model, places in zip(models, shares, strict=False)]
        return [future.result() for future in futures]


class _Encoded(torch.autograd.Function):
    """Vectors whose gradient goes down the groups' own graphs, in threads."""

    @staticmethod
    def forward(ctx: Any, trigger: Tensor, side: SideBySide, groups: list[_Group], n_threads: int) -> Tensor:
        ctx.side, ctx.shares = side, _dealt(groups, n_threads)
        ctx.vectors = side.forward(groups, n_threads)
        return torch.cat([vectors.detach() for vectors in ctx.vectors])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        parts = torch.split(gradients[0], [len(vectors) for vectors in ctx.vectors])
        ctx.side.backward(ctx.vectors, parts, ctx.shares)
        ctx.vectors = None
        return torch.zeros(()), None, None, None


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
