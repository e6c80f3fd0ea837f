"""Every error that embedtune raises on purpose.

::

    EmbedtuneError
    ├── DatasetError(ValueError)              chunks, queries, relevance, files of them
    ├── EmbeddingError(ValueError)            vectors of a wrong shape, or not finite
    ├── ModelNotFoundError(FileNotFoundError) a model folder that is not there
    ├── ModelFolderError(ValueError)          a folder that we must not write to, or cannot read
    ├── GenerationError(RuntimeError)         questions from an LLM
    │   └── BudgetExceededError               the limit on money or requests is reached
    ├── TuningError(RuntimeError)             training
    ├── EvaluationError(ValueError)           searching, measuring, comparing
    └── PluginError
        ├── BackendNotFoundError(LookupError) nothing installed answers to the name
        ├── PluginLoadError(ImportError)      installed, but broken
        └── PluginConflictError               two answer to one name

A message says what was wrong, the value, the limit and the way out.
"""

__all__ = [
    "BackendNotFoundError",
    "BudgetExceededError",
    "DatasetError",
    "EmbeddingError",
    "EmbedtuneError",
    "EvaluationError",
    "GenerationError",
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
