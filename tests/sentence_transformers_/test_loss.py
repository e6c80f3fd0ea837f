"""The masked in-batch loss and its collator."""

from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedtune import QADataset
from embedtune_sentence_transformers.loss import MASKED, NEGATIVE, OWN, MaskedInBatchLoss
from embedtune_sentence_transformers.pairs import PairCollator, pairs_of

QUERIES = {"q1": "how to list files", "q2": "how to show a folder", "q3": "how to remove a file"}
CORPUS = {"c1": "ls", "c2": "rm", "c3": "ls", "c4": "dir"}


@pytest.fixture(scope="module")
def model(small_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(small_model), device="cpu")


def collated(model: SentenceTransformer, dataset: QADataset, group_size: int = 16) -> dict[str, torch.Tensor]:
    pairs = pairs_of(dataset)
    return PairCollator(model, pairs, group_size)([{"query": q, "chunk": c} for q, c in pairs.pairs])


def features_of(batch: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    groups = [key.removesuffix("input_ids") for key in batch if key.endswith("_input_ids")]
    return [{key.removeprefix(g): value for key, value in batch.items() if key.startswith(g)} for g in groups]


def test_chunks_with_the_same_text_are_one_column_and_never_negatives_of_each_other(model: SentenceTransformer) -> None:
    """Trap 17: two questions on one chunk, or on copies of it, in one batch."""
    dataset = QADataset(QUERIES, CORPUS, {"q1": ["c1"], "q2": ["c3"], "q3": ["c2"]})
    label = collated(model, dataset)["label"]
    assert label.shape == (3, 2)
    assert (label == OWN).sum(dim=1).tolist() == [1, 1, 1]
    assert sorted((label == OWN).sum(dim=0).tolist()) == [1, 2]


def test_other_answers_of_a_query_are_masked(model: SentenceTransformer) -> None:
    """Each positive of a query is a row of its own; there the others are neither target nor negative."""
    dataset = QADataset(QUERIES, CORPUS, {"q1": ["c1", "c4"], "q2": ["c3"], "q3": ["c2"]})
    label = collated(model, dataset)["label"]
    assert label.shape == (4, 3)
    assert sorted(row.sort().values.tolist() for row in label) == [
        [MASKED, NEGATIVE, OWN],
        [MASKED, NEGATIVE, OWN],
        [NEGATIVE, NEGATIVE, OWN],
        [NEGATIVE, NEGATIVE, OWN],
    ]


def test_queries_of_one_text_share_their_answers(model: SentenceTransformer) -> None:
    """The same question under two ids, each with its own answer."""
    dataset = QADataset({"a": "how?", "b": "how?"}, CORPUS, {"a": ["c1"], "b": ["c2"]})
    label = collated(model, dataset)["label"]
    assert sorted(row.sort().values.tolist() for row in label) == [[MASKED, OWN], [MASKED, OWN]]


def test_the_loss_is_cross_entropy_over_what_is_not_masked(model: SentenceTransformer) -> None:
    """Against the formula, by hand."""
    dataset = QADataset(QUERIES, CORPUS, {"q1": ["c1", "c4"], "q2": ["c3"], "q3": ["c2"]})
    batch = collated(model, dataset)
    model.eval()
    with torch.no_grad():
        loss = MaskedInBatchLoss(model, temperature=0.05)(features_of(batch), batch["label"])
        queries, chunks = (
            torch.cat([model(group)["sentence_embedding"] for group in features_of(batch) if match(group)])
            for match in (lambda g: len(g["input_ids"]) == 4, lambda g: len(g["input_ids"]) == 3)
        )
    expected = []
    for query, row in zip(queries, batch["label"], strict=True):
        similarities = torch.nn.functional.cosine_similarity(query, chunks) / 0.05
        kept = similarities[row != MASKED].exp().sum()
        expected.append(-(similarities[row == OWN].exp() / kept).log())
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)


def test_groups_of_like_length_change_no_figure(model: SentenceTransformer) -> None:
    """Padding less must not be training differently."""
    queries = {f"q{i}": "why " * (i + 1) for i in range(9)}
    corpus = {f"c{i}": "because " * (3 * i + 1) for i in range(9)}
    dataset = QADataset(queries, corpus, {f"q{i}": [f"c{i}"] for i in range(9)})
    model.eval()
    losses = []
    for group_size in (2, 100):
        batch = collated(model, dataset, group_size)
        with torch.no_grad():
            losses.append(MaskedInBatchLoss(model)(features_of(batch), batch["label"]).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_training_features_carry_the_prompts(prompted_model: Path) -> None:
    """Trap 21: training sees the same text as encode_query and encode_document."""
    model = SentenceTransformer(str(prompted_model), device="cpu")
    dataset = QADataset({"q": "how"}, {"c": "so"}, {"q": ["c"]})
    query, chunk = features_of(collated(model, dataset))
    model.eval()
    with torch.no_grad():
        trained = [model(dict(side))["sentence_embedding"][0] for side in (query, chunk)]
    used = [model.encode_query("how", convert_to_tensor=True), model.encode_document("so", convert_to_tensor=True)]
    for one, other in zip(trained, used, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
