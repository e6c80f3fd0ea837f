"""What a user can say about how questions are written; checked before anything is paid for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from embedtune.errors import DatasetError, GenerationError

__all__ = ["Delivery", "OnFailure", "Prices", "QuestionQuality"]

OnFailure = Literal["continue", "raise"]
STYLES = ("natural", "keyword", "misspelt")


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What tokens cost, per million, in any currency.

    >>> Prices(prompt=0.2, completion=0.8).cost(1_000_000, 500_000)
    0.6
    """

    prompt: float
    """Per million tokens read."""
    completion: float
    """Per million tokens written, reasoning included."""
    batch_factor: float = 0.5
    """Share of the price that a batch costs; OpenAI takes half."""

    def __post_init__(self) -> None:
        for name in ("prompt", "completion", "batch_factor"):
            if not _is_number(value := getattr(self, name)) or value < 0:
                raise GenerationError(f"Prices.{name} must be a number of at least 0; got {value!r}.")

    def cost(self, prompt_tokens: float, completion_tokens: float, *, batch: bool = False) -> float:
        """The price of so many tokens."""
        cost = (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6
        return cost * self.batch_factor if batch else cost


@dataclass(frozen=True, kw_only=True)
class QuestionQuality:
    """What kind of questions are asked for, and which are dropped; each filter can be switched off."""

    styles: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({"natural": 1.0}))
    """Share of each style: ``natural`` questions, ``keyword`` queries of a few search terms, and ``misspelt``
    questions, which are natural ones with typing errors made by rule."""
    language: str | None = None
    """Language of the questions, as in ``"English"``; None is the chunk's own."""
    min_bytes: int = 8
    """Shortest question, in bytes of UTF-8: "Why?" is too short, five characters of Chinese are not."""
    max_characters: int = 400
    """Longest question."""
    drop_leaning: bool = True
    """Whether questions are dropped that lean on the passage, as in "according to the text"."""
    max_copied: float | None = 0.8
    """Questions are dropped of whose words more than this share stands in one run in the chunk; None keeps all."""
    near_duplicates: float | None = 0.85
    """Questions that share this much of their runs of five characters count as one; None: only equal ones do."""
    max_chunks: int | None = 4
    """A question that was asked of more chunks than this is too general, and dropped; None keeps all."""
    judge: object | None = None
    """An LLM, as for ``llm``, that is shown each chunk with its questions and drops those it does not answer."""
    top_ups: int = 1
    """How often a chunk with fewer questions than asked for is asked again."""
    max_answer_tokens: int = 2048
    """Upper bound on the tokens of one answer, reasoning included; the LLM's own, where it has one, wins."""
    temperature: float | None = None
    """Sampling temperature; None leaves it to the LLM."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "styles", MappingProxyType(_shares(self.styles)))
        for name, least in (("min_bytes", 1), ("max_characters", 8), ("top_ups", 0), ("max_answer_tokens", 16)):
            check_whole(f"QuestionQuality.{name}", getattr(self, name), least)
        if self.language is not None and not (isinstance(self.language, str) and self.language.strip()):
            raise GenerationError(f'QuestionQuality.language must be a name such as "English"; got {self.language!r}.')
        if self.temperature is not None and not (_is_number(self.temperature) and self.temperature >= 0):
            raise GenerationError(f"QuestionQuality.temperature must be at least 0; got {self.temperature!r}.")
        if self.max_chunks is not None:
            check_whole("QuestionQuality.max_chunks", self.max_chunks, 1)
        for name in ("max_copied", "near_duplicates"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 < value <= 1):
                raise GenerationError(f"QuestionQuality.{name} must lie in (0, 1], or be None; got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How requests are sent, and what they may cost; see `QADataset.from_llm` for each."""

    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    retries: int = 6
    journal: Path | None = None
    prices: Prices | None = None
    max_cost: float | None = None
    max_requests: int | None = None
    batch: bool = False
    wait: bool = True
    on_failure: OnFailure = "continue"
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        check_whole("concurrency", self.concurrency, 1)
        check_whole("retries", self.retries, 0)
        check_whole("seed", self.seed, 0)
        for name in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0):
                raise GenerationError(f"{name} must be above 0, or None for no limit; got {value!r}.")
        if self.max_requests is not None:
            check_whole("max_requests", self.max_requests, 1)
        if self.on_failure not in ("continue", "raise"):
            raise GenerationError(f"on_failure must be 'continue' or 'raise'; got {self.on_failure!r}.")
        if self.prices is not None and not isinstance(self.prices, Prices):
            raise GenerationError(f"prices must be embedtune.Prices(prompt=..., completion=...); got {self.prices!r}.")
        self._check_cost()

    def _check_cost(self) -> None:
        if self.max_cost is None:
            return
        if not _is_number(self.max_cost) or self.max_cost <= 0:
            raise GenerationError(f"max_cost must be above 0, in the currency of the prices; got {self.max_cost!r}.")
        if self.prices is None:
            raise GenerationError(
                f"max_cost={self.max_cost!r} cannot be held without prices: give prices=Prices(prompt=..., "
                "completion=...), per million tokens, as your provider lists them; or limit max_requests instead."
            )


def check_whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number, or too small."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise GenerationError(f"{name} must be a whole number of at least {least}; got {value!r}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shares(styles: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(styles, Mapping) or (unknown := sorted(set(styles) - set(STYLES))):
        wrong = repr(unknown) if isinstance(styles, Mapping) else type(styles).__name__
        raise GenerationError(f"styles must map {', '.join(STYLES)} to shares; got {wrong}.")
    if not all(_is_number(share) and share >= 0 for share in styles.values()) or not sum(styles.values()) > 0:
        raise GenerationError(f"The shares of the styles must be at least 0, and not all 0; got {dict(styles)!r}.")
    total = sum(styles.values())
    return {style: styles[style] / total for style in STYLES if styles.get(style)}


def check_count(n_questions: object) -> None:
    """Refuse a number of questions that cannot be asked for."""
    if isinstance(n_questions, bool) or not isinstance(n_questions, int) or n_questions < 1:
        raise DatasetError(f"num_questions_per_chunk must be at least 1; got {n_questions!r}.")
