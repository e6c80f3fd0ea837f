"""Every error that embedtune raises on purpose.

::

    EmbedtuneError
    ├── DatasetError(ValueError)              chunks, queries, relevance, files of them
    ├── EmbeddingError(ValueError)            vectors of a wrong shape, or not finite
    ├── ModelNotFoundError(FileNotFoundError) a model folder that is not there
    ├── ModelFolderError(ValueError)          a folder that we must not write to, or cannot read
    ├── GenerationError(RuntimeError)         questions from an LLM
    │   ├── LLMRequestError                   one request got no answer
    │   ├── BatchPendingError                 a batch is submitted, and not done yet
    │   └── BudgetExceededError               the limit on money or requests is reached
    ├── TuningError(RuntimeError)             training
    ├── EvaluationError(ValueError)           searching, measuring, comparing
    └── PluginError
        ├── BackendNotFoundError(LookupError) nothing installed answers to the name
        ├── PluginLoadError(ImportError)      installed, but broken
        └── PluginConflictError               two answer to one name

A message says what was wrong, the value, the limit and the way out.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedtune.dataset import QADataset

__all__ = [
    "BackendNotFoundError",
    "BatchPendingError",
    "BudgetExceededError",
    "DatasetError",
    "EmbeddingError",
    "EmbedtuneError",
    "EvaluationError",
    "GenerationError",
    "LLMRequestError",
    "ModelFolderError",
    "ModelNotFoundError",
    "PluginConflictError",
    "PluginError",
    "PluginLoadError",
    "TuningError",
]


class EmbedtuneError(Exception):
    """Base of all; catch it to catch whatever embedtune refuses."""


class DatasetError(EmbedtuneError, ValueError):
    """Chunks, queries or relevance judgments that cannot be used, or a file of them."""


class EmbeddingError(EmbedtuneError, ValueError):
    """An embedder returned vectors of a wrong shape, or vectors with NaN."""


class ModelNotFoundError(EmbedtuneError, FileNotFoundError):
    """A model reference points to a folder that does not exist."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ModelFolderError(EmbedtuneError, ValueError):
    """A target folder that is not ours to replace, or a model folder that cannot be read."""


class GenerationError(EmbedtuneError, RuntimeError):
    """The question writer failed."""

    partial: "QADataset | None" = None
    """What was written before it failed, with its report; None if there is nothing."""


class LLMRequestError(GenerationError):
    """One request to an LLM got no answer.

    Args:
        message: The server's reason, without a key.
        status: HTTP status; None where no answer arrived (a timeout, a dropped connection).
        code: The server's own name of the error, such as ``insufficient_quota``.
        retry_after: Seconds that the server asks to wait.
        heals: Whether the same request may get an answer later; None leaves it to status and code.
        unreachable: Whether nothing listens at the address, or it has no such name.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        heals: bool | None = None,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.heals = heals
        self.unreachable = unreachable


class BatchPendingError(GenerationError):
    """A batch is submitted and not done yet; the same call with the same journal collects it later."""


class BudgetExceededError(GenerationError):
    """The next request could pass the limit that was set on cost or requests."""


class TuningError(EmbedtuneError, RuntimeError):
    """Training cannot start, or cannot go on."""


class EvaluationError(EmbedtuneError, ValueError):
    """A search, a metric or a comparison cannot be computed."""


class PluginError(EmbedtuneError):
    """Something about the installed plugins."""


class BackendNotFoundError(PluginError, LookupError):
    """No installed plugin offers what was asked for."""


class PluginLoadError(PluginError, ImportError):
    """A plugin is installed, but raises when it is loaded."""


class PluginConflictError(PluginError):
    """Two installed plugins offer the same name, or claim the same object."""
