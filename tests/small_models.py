"""Small models with real tokenizer, architecture and weights, for tests that train."""

from pathlib import Path

__all__ = ["first_layer_of"]


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
