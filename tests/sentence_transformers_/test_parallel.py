"""Groups of a batch side by side give the gradients of one after another."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedtune_sentence_transformers.parallel import SideBySide
from embedtune_sentence_transformers.preparing import set_dropout


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def groups_for(model: SentenceTransformer) -> list[dict[str, torch.Tensor]]:
    texts = [["list files", "remove a folder"], ["print the date " * 9] * 3, ["who is logged in " * 4]]
    return [dict(model.preprocess(some)) for some in texts]


def gradients(model: SentenceTransformer, vectors: torch.Tensor) -> dict[str, torch.Tensor]:
    vectors.square().cumsum(0).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def test_vectors_and_gradients_are_those_of_one_after_another(tiny_model: Path, two_threads: None) -> None:
    model = SentenceTransformer(str(tiny_model), device="cpu")
    set_dropout(model, 0.0)
    model.train()
    other = copy.deepcopy(model)
    vectors = SideBySide(model, "fp32")(groups_for(model))
    expected = torch.cat([other(group)["sentence_embedding"] for group in groups_for(other)])
    torch.testing.assert_close(vectors, expected)
    found, wanted = gradients(model, vectors), gradients(other, expected)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_two_steps_give_the_same_figures_again_and_see_changed_weights(tiny_model: Path, two_threads: None) -> None:
    ends = []
    for _ in range(2):
        model = SentenceTransformer(str(tiny_model), device="cpu")
        set_dropout(model, 0.0)
        model.train()
        side_by_side = SideBySide(model, "fp32")
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
        for _ in range(3):
            side_by_side(groups_for(model)).square().cumsum(0).sum().backward()
            optimiser.step()
            optimiser.zero_grad()
        vectors = side_by_side(groups_for(model))
        expected = torch.cat([model(group)["sentence_embedding"] for group in groups_for(model)])
        torch.testing.assert_close(vectors, expected)
        ends.append(vectors.detach())
    assert torch.equal(*ends)


def test_dropout_goes_one_after_another(tiny_model: Path, two_threads: None) -> None:
    """Threads would draw from one generator in an order of chance."""
    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.train()
    set_dropout(model, 0.1)
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        ends.append(SideBySide(model, "fp32")(groups_for(model)).detach())
    assert torch.equal(*ends)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_precision_that_was_asked_for_is_what_products_are_computed_in(
    tiny_model: Path, two_threads: None, precision: str, n_threads: int
) -> None:
    torch.set_num_threads(n_threads)
    model = SentenceTransformer(str(tiny_model), device="cpu")
    dtypes: set[torch.dtype] = set()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _module, _args, output: dtypes.add(output.dtype))
    set_dropout(model, 0.0)
    vectors = SideBySide(model, precision)(groups_for(model))
    assert dtypes == {torch.bfloat16 if precision == "bf16" else torch.float32}
    assert vectors.dtype == torch.float32


def test_a_wrapper_of_the_models_forward_is_not_called_from_threads(tiny_model: Path, two_threads: None) -> None:
    """Accelerate's enters one autocast for all of them, whose cache any of them empties: figures of chance."""
    model = SentenceTransformer(str(tiny_model), device="cpu")
    set_dropout(model, 0.0)
    expected = torch.cat([model(group)["sentence_embedding"] for group in groups_for(model)])
    called: list[object] = []
    model.forward = called.append
    torch.testing.assert_close(SideBySide(model, "fp32")(groups_for(model)), expected)
    assert called == []
