"""The masked in-batch loss and its collator."""

from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedtune import QADataset
from embedtune_sentence_transformers.collating import RowCollator
from embedtune_sentence_transformers.loss import MASKED, NEGATIVE, OWN, MaskedInBatchLoss
from embedtune_sentence_transformers.pairs import TrainingPairs, pairs_of

QUERIES = {"q1": "how to list files", "q2": "how to show a folder", "q3": "how to remove a file"}
CORPUS = {"c1": "ls", "c2": "rm", "c3": "ls", "c4": "dir"}


@pytest.fixture(scope="module")
def model(small_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(small_model), device="cpu")


def rows_of(pairs: TrainingPairs) -> list[dict[str, object]]:
    return [{"chunk": c, "queries": q} for c, q in zip(*pairs.rows().values(), strict=True)]


def collated(model: SentenceTransformer, dataset: QADataset) -> dict[str, torch.Tensor]:
    pairs = pairs_of(dataset)
    return RowCollator(model, pairs)(rows_of(pairs))


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


def test_each_answer_of_a_query_is_trained_on_and_none_is_a_negative(model: SentenceTransformer) -> None:
    dataset = QADataset(QUERIES, CORPUS, {"q1": ["c1", "c4"], "q2": ["c3"], "q3": ["c2"]})
    label = collated(model, dataset)["label"]
    assert sorted(row.sort().values.tolist() for row in label) == [
        [NEGATIVE, NEGATIVE, OWN],
        [NEGATIVE, NEGATIVE, OWN],
        [NEGATIVE, OWN, OWN],
    ]


def test_an_answer_that_is_not_trained_on_is_masked(model: SentenceTransformer) -> None:
    """With all_answers=False the others are neither target nor negative."""
    dataset = QADataset(QUERIES, CORPUS, {"q1": ["c1", "c4"], "q2": ["c4"], "q3": ["c2"]})
    pairs = pairs_of(dataset, all_answers=False)
    label = RowCollator(model, pairs)(rows_of(pairs))["label"]
    assert sorted(row.sort().values.tolist() for row in label) == [
        [MASKED, NEGATIVE, OWN],
        [NEGATIVE, NEGATIVE, OWN],
        [NEGATIVE, NEGATIVE, OWN],
    ]


def test_queries_of_one_text_share_their_answers(model: SentenceTransformer) -> None:
    """The same question under two ids, each with its own answer, is encoded once."""
    dataset = QADataset({"a": "how?", "b": "how?"}, CORPUS, {"a": ["c1"], "b": ["c2"]})
    assert collated(model, dataset)["label"].tolist() == [[OWN, OWN]]


def expected_loss(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """By hand: each pair against the negatives of its row."""
    terms = []
    for row, marks in zip(logits, label, strict=True):
        for own in row[marks == OWN]:
            terms.append(-(own.exp() / (own.exp() + row[marks == NEGATIVE].exp().sum())).log())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_loss_is_cross_entropy_over_what_is_not_masked(model: SentenceTransformer, symmetric: bool) -> None:
    """Against the formula, by hand."""
    dataset = QADataset(QUERIES, CORPUS, {"q1": ["c1", "c4"], "q2": ["c3"], "q3": ["c2"]})
    batch = collated(model, dataset)
    model.eval()
    with torch.no_grad():
        loss = MaskedInBatchLoss(model, temperature=0.05, symmetric=symmetric)(features_of(batch), batch["label"])
        vectors = torch.cat([model(group)["sentence_embedding"] for group in features_of(batch)])
    similarities = torch.nn.functional.cosine_similarity(vectors[:3, None], vectors[None, 3:], dim=-1) / 0.05
    expected = expected_loss(similarities, batch["label"])
    if symmetric:
        expected = (expected + expected_loss(similarities.T, batch["label"].T)) / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_batch_without_a_negative_has_no_loss_and_a_gradient_that_is_a_number(small_model: Path) -> None:
    model = SentenceTransformer(str(small_model), device="cpu")
    batch = collated(model, QADataset({"a": "how?"}, CORPUS, {"a": ["c1", "c2"]}))
    loss = MaskedInBatchLoss(model, symmetric=True)(features_of(batch), batch["label"])
    loss.backward()
    assert loss.item() == 0
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_matryoshka_dimensions_have_the_same_loss_on_shorter_vectors(model: SentenceTransformer) -> None:
    """The mean over all dimensions and each prefix."""
    dataset = QADataset(QUERIES, CORPUS, {"q1": ["c1"], "q2": ["c4"], "q3": ["c2"]})
    batch = collated(model, dataset)
    model.eval()
    with torch.no_grad():
        loss = MaskedInBatchLoss(model, dims=(32,))(features_of(batch), batch["label"])
        vectors = torch.cat([model(group)["sentence_embedding"] for group in features_of(batch)])
    expected = [
        expected_loss(torch.cosine_similarity(v[:3, None], v[None, 3:], dim=-1) / 0.05, batch["label"])
        for v in (vectors[:, :32], vectors)
    ]
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)


def test_a_teacher_is_followed_where_it_was_asked(model: SentenceTransformer) -> None:
    """With all weight on the teacher, the loss is 0 exactly where the model says the same."""
    dataset = QADataset(QUERIES, CORPUS, {"q1": ["c1"], "q2": ["c4"], "q3": ["c2"]})
    batch = collated(model, dataset)
    model.eval()
    follow = MaskedInBatchLoss(model, teacher_weight=1.0)
    with torch.no_grad():
        vectors = torch.cat([model(group)["sentence_embedding"] for group in features_of(batch)])
        own = torch.cosine_similarity(vectors[:3, None], vectors[None, 3:], dim=-1) / 0.05
        own[0, 0] = float("nan")  # not asked
        same = follow(features_of(batch), torch.stack([batch["label"].float(), own]))
        other = follow(features_of(batch), torch.stack([batch["label"].float(), -own]))
    assert same.item() == pytest.approx(0, abs=1e-4)
    assert other.item() > 0.1


def test_groups_of_like_length_change_no_figure(model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding less must not be training differently."""
    queries = {f"q{i}": "why " * (i + 1) for i in range(9)}
    corpus = {f"c{i}": "because " * (3 * i + 1) for i in range(9)}
    dataset = QADataset(queries, corpus, {f"q{i}": [f"c{i}"] for i in range(9)})
    model.eval()
    losses = []
    for at_once in (64, 100_000):
        monkeypatch.setattr("embedtune_sentence_transformers.tokens._TOKENS_AT_ONCE", {"cpu": at_once})
        batch = collated(model, dataset)
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
