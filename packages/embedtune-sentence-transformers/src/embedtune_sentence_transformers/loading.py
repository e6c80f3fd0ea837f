"""Loading sentence-transformers models: full precision, no remote code unless asked for, content hashes."""

import contextlib
import hashlib
import json
import logging
import math
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from embedtune import EmbeddingError, EmbedtuneError, ModelFolderError, ModelNotFoundError
from embedtune.adapter.query_adapter import is_adapter_folder
from embedtune.fingerprints import folder_fingerprint
from embedtune.records import read_record

__all__ = [
    "SAFETENSORS_ALONE",
    "check_max_seq_length",
    "check_pooling",
    "library_versions",
    "load_model",
    "loaded_from",
    "local_folder",
    "model_fingerprint",
    "positions_in",
    "positions_of",
    "prompt_for",
    "telling_what_is_wrong",
    "weights_fingerprint",
]

logger = logging.getLogger(__name__)

SAFETENSORS_ALONE = {"use_safetensors": True}
"""A pickle of weights can run code."""

_POSITIONS_FROM_2 = frozenset({"camembert", "mpnet", "roberta", "xlm-roberta"})
"""Model types that count positions from the padding token's id on: the first two are never a token's."""

QUERY_PROMPTS = ("query",)
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""Names of prompts by side, in the order in which sentence-transformers looks for them."""


def load_model(
    ref: str,
    *,
    device: str | None = None,
    trust_remote_code: bool = False,
    max_seq_length: int | None = None,
    truncate_dim: int | None = None,
) -> SentenceTransformer:
    """Load a fresh copy of a model, in float32 whatever its files hold.

    Args:
        ref: Folder or hub name.
        device: Such as ``"cpu"`` or ``"cuda:0"``; the fastest there is if None.
        trust_remote_code: Whether code from the model's own folder may run.
        max_seq_length: Tokens read of a text; the model's own setting if None.
        truncate_dim: Dimensions kept; all if None.

    Raises:
        ModelNotFoundError: If the hub has no such model, or cannot be reached and it is not cached.
        EmbeddingError: If there is no such device, or the model has not so many positions.
        ModelFolderError: If a file of it is broken, or it wants code of its own to run and ``trust_remote_code`` is
            False.
    """
    _check_device(device)
    _check_kind(ref)
    with telling_what_is_wrong(
        ref, "give trust_remote_code=True to tune(), or load it yourself and give the loaded model"
    ):
        model = SentenceTransformer(
            ref,
            model_kwargs=dict(SAFETENSORS_ALONE),
            device=device,
            trust_remote_code=trust_remote_code,
            truncate_dim=truncate_dim,
        )
    # transformers 5 loads weights in the precision they are stored in; sums and updates need 32 bits.
    model = model.float()
    if max_seq_length is not None:
        check_max_seq_length(model, ref, max_seq_length)
        model.max_seq_length = max_seq_length
    return model


def _check_kind(ref: str) -> None:
    """Refuse folders of ours that hold something else, of which sentence-transformers would make what it can."""
    record = read_record(ref) if Path(ref).is_dir() else None
    if record is None:
        return
    what = "a query adapter" if is_adapter_folder(ref) else "a reranker" if record.tuner == "reranker" else None
    if what is not None:
        raise ModelFolderError(
            f"{ref!r} holds {what}, no embedding model: it was tuned from {record.base_model!r} by the tuner "
            f"{record.tuner!r}. Give an embedding model."
        )


@contextlib.contextmanager
def telling_what_is_wrong(ref: str, to_trust_it: str) -> Iterator[None]:
    """Turn the frameworks' errors on loading a model into ours.

    Args:
        ref: The model, for messages.
        to_trust_it: What to do to run the model's own code.

    Raises:
        ModelNotFoundError: If the hub has no such model, or cannot be reached and it is not cached.
        ModelFolderError: If a file of it is broken, or it wants code of its own to run.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # loading takes less than a second
    try:
        yield
    except EmbedtuneError:
        raise
    except OSError as error:
        nowhere = "" if Path(ref).exists() else f"there is no folder {str(Path(ref).absolute())!r}, and on the hub: "
        way_out = (
            "Weights in a pickle (.bin) can run code and are not loaded: save the model as safetensors."
            if "model.safetensors" in str(error)
            else "Give a model folder, or a hub name that can be reached or is in the local cache."
        )
        raise ModelNotFoundError(f"Cannot load the model {ref!r}: {nowhere}{_first_line(error)} {way_out}") from error
    except Exception as error:  # each framework has its own for a file that is missing, cut or changed
        if "trust_remote_code" in str(error):
            raise ModelFolderError(
                f"The model {ref!r} brings Python code of its own, which is not run. Read it; if you trust it, "
                f"{to_trust_it}."
            ) from error
        raise ModelFolderError(
            f"The model {ref!r} cannot be loaded: {type(error).__name__}: {_first_line(error)} Is a file missing or "
            "cut off? Download or tune it again."
        ) from error


def _check_device(device: str | None) -> None:
    try:
        kind = torch.device(device).type if device is not None else "cpu"
    except RuntimeError as error:
        raise EmbeddingError(
            f"device {device!r} is none that PyTorch knows. Give 'cpu', 'cuda', 'cuda:1', 'mps' or 'xpu', or leave it "
            "out for the fastest there is."
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise EmbeddingError(f"device {device!r} is not there: this PyTorch, {torch.__version__}, sees no CUDA GPU.")


def check_max_seq_length(model: SentenceTransformer, ref: str, max_seq_length: int) -> None:
    """Refuse what the model has no positions for, which else fails at the first text that is long enough."""
    if model.max_seq_length is not None and math.isinf(model.max_seq_length):
        raise EmbeddingError(
            f"max_seq_length={max_seq_length} does not fit {ref!r}, which reads texts whole: leave it out."
        )
    positions = positions_of(model)
    if max_seq_length < 2 or (positions is not None and max_seq_length > positions):
        limit = f"; the model has {positions} positions" if positions is not None else ""
        raise EmbeddingError(f"max_seq_length={max_seq_length} does not fit {ref!r}: give at least 2{limit}.")


def check_pooling(model: SentenceTransformer, ref: str) -> None:
    """Refuse a model that gives no vector for a text.

    Raises:
        ModelFolderError: If it does not.
    """
    try:
        model.encode_document(["."], show_progress_bar=False)
    except KeyError as error:
        raise ModelFolderError(
            f"The model {ref!r} gives no vector for a text, only one for each token ({error} is missing): modules.json "
            "names no pooling. Take the embedding model made of it, or add "
            "sentence_transformers.models.Pooling to its modules and save it."
        ) from error


def library_versions() -> dict[str, str]:
    """Of Python and of what a tuning is made with, for the record."""
    libraries = ("embedtune", "sentence-transformers", "transformers", "torch")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}


def positions_of(model: SentenceTransformer) -> int | None:
    """The most tokens that a model has positions for; None where it does not say."""
    return positions_in(getattr(getattr(model[0], "auto_model", None), "config", None))


def positions_in(config: object) -> int | None:
    """The most tokens that a model of this configuration has positions for; None where it does not say."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int):
        return None
    return positions - 2 if getattr(config, "model_type", None) in _POSITIONS_FROM_2 else positions


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def local_folder(ref: str, owner: str = "sentence-transformers") -> Path | None:
    """The folder of a model: itself, or the hub's snapshot in the local cache; None if it is not there.

    Args:
        ref: Folder or hub name.
        owner: Whose models are meant by a name without an owner.
    """
    if Path(ref).is_dir():
        return Path(ref)
    for name in (ref, f"{owner}/{ref}") if "/" not in ref else (ref,):
        try:
            return Path(snapshot_download(name, local_files_only=True))
        except (OSError, ValueError):  # not in the cache, or no name that the hub could have
            continue
    return None


def loaded_from(model: torch.nn.Module) -> Path | None:
    """The folder that a model was loaded from, if it says so and the folder is still there."""
    for module in model.modules():
        config = getattr(module, "config", None)
        name = getattr(config, "_name_or_path", None)
        if isinstance(name, str) and name:
            return Path(name) if Path(name).is_dir() else None
    return None


def model_fingerprint(model: SentenceTransformer, folder: Path | None, **settings: object) -> str:
    """Hash of all that changes a vector.

    Args:
        model: The loaded model.
        folder: Its files, if it was loaded from them unchanged.
        settings: What was changed at load time.
    """
    if folder is not None:
        return folder_fingerprint(folder, **settings)
    described = {
        "modules": [repr(module) for module in model],
        "prompts": model.prompts,
        "default_prompt": model.default_prompt_name,
        "max_seq_length": model.max_seq_length,
        "truncate_dim": model.truncate_dim,
        "vocabulary": sorted(getattr(model.tokenizer, "get_vocab", dict)().items()),
        **settings,
    }
    return weights_fingerprint(model, described)


def weights_fingerprint(model: torch.nn.Module, described: Mapping[str, object]) -> str:
    """Hash of a loaded model's weights and of what is said beside them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    digest.update(json.dumps(described, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:32]


def prompt_for(model: SentenceTransformer, names: tuple[str, ...]) -> str | None:
    """The prompt that ``encode_query`` or ``encode_document`` would put in front of a text."""
    for name in names:
        if name in model.prompts:
            return model.prompts[name] or None
    if model.default_prompt_name is not None:
        return model.prompts.get(model.default_prompt_name) or None
    return None
