"""The six packages as the tests see them: folder, import name, extra, and what each may import."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""Root of the repository."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """One distribution under ``packages/``."""

    distribution: str
    """Name on the index, and of the folder."""
    import_name: str
    """Dotted name of the import package."""
    extra: str | None = None
    """Name of the extra and of the entry point; None for the core."""
    may_import: frozenset[str]
    """Dotted prefixes of the modules allowed beside the standard library and the package itself."""

    @property
    def folder(self) -> Path:
        """``packages/<distribution>``."""
        return ROOT / "packages" / self.distribution

    @property
    def package(self) -> Path:
        """Folder of the import package."""
        return self.folder.joinpath("src", *self.import_name.split("."))

    def sources(self) -> list[Path]:
        """Every Python file under ``src``; at least one, so that no law passes on nothing."""
        found = sorted((self.folder / "src").rglob("*.py"))
        assert found, f"{self.distribution} has no Python file under {self.folder / 'src'}"
        return found


COMMON = frozenset({"embedtune", "numpy", "pydantic"})

CORE = Room(
    distribution="embedtune",
    import_name="embedtune",
    may_import=COMMON | {"pluggy", "safetensors", "tqdm", "typer", "rich", "click", "jinja2", "plotly"},
)
ADAPTERS = (
    Room(
        distribution="embedtune-sentence-transformers",
        import_name="embedtune_sentence_transformers",
        extra="sentence-transformers",
        may_import=COMMON
        | {
            "sentence_transformers",
            "transformers",
            "torch",
            "datasets",
            "safetensors",
            "huggingface_hub",
            "tqdm",
            "peft",
        },
    ),
    Room(
        distribution="embedtune-lancedb",
        import_name="embedtune_lancedb",
        extra="lancedb",
        may_import=COMMON | {"lancedb", "pyarrow", "tqdm"},
    ),
    Room(
        distribution="embedtune-openai",
        import_name="embedtune_openai",
        extra="openai",
        may_import=COMMON | {"openai"},
    ),
    Room(
        distribution="llama-index-embeddings-embedtune",
        import_name="llama_index.embeddings.embedtune",
        extra="llama-index",
        may_import=COMMON | {"llama_index.core"},
    ),
    Room(
        distribution="langchain-embedtune",
        import_name="langchain_embedtune",
        extra="langchain",
        may_import=COMMON | {"langchain_core"},
    ),
)
ROOMS = (CORE, *ADAPTERS)
