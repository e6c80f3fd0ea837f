"""Small models with real tokenizer, architecture and weights, for tests that train."""

from pathlib import Path

from embedtune import QADataset

__all__ = ["first_layer_of", "trained_cross_encoder"]


def first_layer_of(model_folder: Path, folder: Path, **prompts: str) -> Path:
    """A model cut to its first layer: the same files and code paths at a sixth of the time.

    Args:
        model_folder: The whole model.
        folder: Where the small one is written.
        prompts: Its prompts by name, such as ``query="ask: "``.
    """
    from sentence_transformers import SentenceTransformer  # seconds, which other tests need not wait

    model = SentenceTransformer(str(model_folder), device="cpu", prompts=prompts)
    encoder = model[0].auto_model
    encoder.encoder.layer = encoder.encoder.layer[:1]
    encoder.config.num_hidden_layers = 1
    model.save(str(folder), create_model_card=False)
    return folder


def trained_cross_encoder(model_folder: Path, folder: Path, dataset: QADataset, steps: int = 12) -> Path:
    """A cross-encoder on the body of an embedding model that has learned a few questions by heart.

    Args:
        model_folder: The embedding model, best a small one.
        folder: Where the cross-encoder is written.
        dataset: Each query has one relevant chunk; every query with every chunk is one batch.
        steps: Optimiser steps.
    """
    import torch
    from sentence_transformers import CrossEncoder

    torch.manual_seed(0)
    model = CrossEncoder(str(model_folder), num_labels=1, device="cpu")
    network, chunks = model.model.eval(), list(dataset.corpus)
    queries = [text for text in dataset.queries.values() for _ in chunks]
    texts = list(dataset.corpus.values()) * len(dataset)
    read = model.tokenizer(queries, texts, padding=True, return_tensors="pt")
    right = torch.tensor([chunks.index(relevant[0]) for relevant in dataset.relevant_docs.values()])
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(steps):
        scores = network(**read).logits.view(len(dataset), len(chunks))
        torch.nn.functional.cross_entropy(scores, right).backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(str(folder))
    return folder
