"""Small models with real tokenizer, architecture and weights, for tests that train."""

import string
from collections.abc import Iterable
from pathlib import Path

from embedtune import QADataset

__all__ = ["first_layer_of", "tiny_model", "trained_cross_encoder"]


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


def tiny_model(folder: Path, words: Iterable[str], positions: int = 600, **prompts: str) -> Path:
    """A BERT of two layers, 48 dimensions and random weights, whose tokenizer knows letters and a few words.

    It reads 64 tokens. A run on it takes a second or two, and it learns what it is taught.

    Args:
        folder: Where it is written.
        words: Each is one token.
        positions: The most tokens that it could read.
        prompts: Its prompts by name, such as ``query="ask: "``.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    signs = string.ascii_lowercase + string.digits + "?.,:"
    tokens = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *signs, *(f"##{sign}" for sign in signs), *words])
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=positions, **names).save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    network = BertModel(BertConfig(vocab_size=len(tokens), max_position_embeddings=positions, **size))
    # Wide apart: beside them the positions, which all texts share, are little, and unlike texts have unlike vectors.
    torch.nn.init.normal_(network.embeddings.word_embeddings.weight)
    network.save_pretrained(folder)
    body = Transformer(str(folder), max_seq_length=64)
    model = SentenceTransformer(modules=[body, Pooling(48)], device="cpu", prompts=prompts)
    model.save(str(folder), create_model_card=False)
    return folder
