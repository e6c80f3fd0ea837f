"""What chooses the checkpoint, and what a tuner refuses before costly work."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedtune import (
    BaseEmbeddingTuner,
    ModelFolderError,
    PluginManager,
    QADataset,
    TuneResult,
    TuningError,
    hookimpl,
    leaks,
    tune,
)
from embedtune.folders import swap_in
from embedtune.plugins import EmbedderBackend, TunerBackend
from embedtune.records import ModelRecord, SeenTexts, read_record
from embedtune.testing import HashEmbedder, TunerContract, tiny_dataset
from embedtune.tuner import ValidationPoint, dataset_digest
from embedtune.validation import ValidationPlan, plan_validation


def questions(n_queries: int, *, per_document: int = 10, document: str | None = None) -> QADataset:
    """One chunk a question, ten questions a document."""
    corpus = {f"c{i}": f"page {i * 7919} with line {i * 104729} of text" for i in range(n_queries)}
    return QADataset(
        {f"q{i}": f"what is on page {i}?" for i in range(n_queries)},
        corpus,
        {f"q{i}": [f"c{i}"] for i in range(n_queries)},
        {chunk: {"document_id": document or f"d{i // per_document}"} for i, chunk in enumerate(corpus)},
    )


def independent(plan: ValidationPlan) -> bool:
    return not any(leaks(train, val) for train, val in plan.folds)


# Validation


def test_a_given_valset_chooses_and_all_of_the_trainset_trains() -> None:
    split = questions(100).split(val=0.2, test=0)
    assert split.val is not None
    plan = plan_validation(split.train, split.val, seed=0, folds=3)
    assert plan == ValidationPlan(split.train, ((split.train, split.val),))
    assert not plan.is_cross_validation


def test_a_valset_that_leaks_is_refused_and_says_what_is_shared() -> None:
    trainset = questions(50)
    with pytest.raises(
        TuningError,
        match=r"not independent of the training set: shared are 5 query texts .* 5 relevant .*QADataset.split\(\)",
    ):
        plan_validation(trainset, trainset.subset([f"q{i}" for i in range(5)]), seed=0, folds=3)


@pytest.mark.parametrize(
    ("n_queries", "n_folds", "held_back"), [(1490, 3, 0), (1500, 1, 300), (3000, 1, 300), (4000, 1, 400)]
)
def test_three_hundred_questions_are_enough_to_hold_back(n_queries: int, n_folds: int, held_back: int) -> None:
    plan = plan_validation(questions(n_queries), None, seed=0, folds=3)
    assert len(plan.folds) == n_folds
    assert plan.is_cross_validation is (n_folds > 1)
    assert independent(plan)
    if n_folds == 1:
        assert plan.trainset is plan.folds[0][0]
        assert [len(part) for part in plan.folds[0]] == [n_queries - held_back, held_back]


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_are_disjoint_and_hold_every_question_once(folds: int) -> None:
    trainset = questions(95)
    plan = plan_validation(trainset, None, seed=0, folds=folds)
    assert plan.trainset is trainset
    held_back = [query for _, val in plan.folds for query in val.queries]
    assert sorted(held_back) == sorted(trainset.queries)
    assert independent(plan)
    for train, val in plan.folds:
        assert sorted([*train.queries, *val.queries]) == sorted(trainset.queries)
        assert abs(len(val) - 95 / folds) <= 10
        assert val.corpus == trainset.corpus
        held_documents = {trainset.documents[chunk] for chunks in val.relevant_docs.values() for chunk in chunks}
        assert not held_documents & {train.documents[chunk] for chunk in train.corpus}


def test_the_seed_draws_the_folds() -> None:
    trainset = questions(100)
    one, same, other = (plan_validation(trainset, None, seed=seed, folds=3) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_there_are_no_more_folds_than_groups() -> None:
    assert len(plan_validation(questions(20), None, seed=0, folds=5).folds) == 2


@pytest.mark.parametrize("folds", [0, 1, 3])
def test_one_document_falls_back_to_its_chunks(folds: int) -> None:
    plan = plan_validation(questions(30, document="the only one"), None, seed=0, folds=folds)
    assert len(plan.folds) == max(folds, 1)
    assert independent(plan)


@pytest.mark.parametrize("n_queries", [2, 4])
def test_folds_of_one_carve_a_part_however_small(n_queries: int) -> None:
    plan = plan_validation(questions(n_queries, per_document=1), None, seed=0, folds=1)
    assert [len(part) for part in plan.folds[0]] == [n_queries - 1, 1]


@pytest.mark.parametrize("folds", [1, 3])
def test_one_group_cannot_be_held_back(folds: int) -> None:
    dataset = QADataset({"q1": "how?", "q2": "why?"}, {"c": "so", "d": "or so"}, {"q1": ["c", "d"], "q2": ["d"]})
    with pytest.raises(
        TuningError, match=r"2 queries on 2 chunks form one connected group.* Give different queries on at least 2"
    ):
        plan_validation(dataset, None, seed=0, folds=folds)


# The base class


class MinimalTuner(BaseEmbeddingTuner):
    """Writes the number of dimensions of a `HashEmbedder`; fails half-way where it is told to."""

    name = "minimal"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        dim: int = 64
        crash: bool = False

    def finetune(self) -> None:
        job = {
            "model": str(self.model),
            "train": dataset_digest(self.trainset),
            "epochs": self.epochs,
            "seed": self.seed,
        }
        with self.writing(job) as partial:
            checkpoint = partial / "checkpoint"
            resumed = checkpoint.exists()
            checkpoint.touch()
            if self.options.crash:
                raise KeyboardInterrupt
            record = ModelRecord(
                base_model=str(self.model),
                base_fingerprint=None,
                fingerprint="f",
                tuner=self.name,
                configuration={"resumed": resumed},
                chosen_step=1,
                kept_base=False,
                seen=SeenTexts.of([self.trainset]),
            )
            record.write(partial / "new")
            swap_in(self.path)
        point = ValidationPoint(step=0, epoch=0.0, metrics={})
        self.result = TuneResult(
            path=self.path, record=record, history=(point,), n_pairs=2, truncated_share=0.0, seconds=0.0
        )


class FolderEmbedder(HashEmbedder):
    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder


@pytest.fixture
def with_minimal(plugins: PluginManager) -> PluginManager:
    class Plugin:
        @hookimpl
        def embedtune_tuners(self) -> list[TunerBackend]:
            return [TunerBackend(name="minimal", load=lambda: MinimalTuner)]

        @hookimpl
        def embedtune_embedders(self) -> list[EmbedderBackend]:
            return [EmbedderBackend(name="minimal", load=FolderEmbedder, matches=lambda ref: Path(ref).is_dir())]

    plugins.register(Plugin(), "minimal", "minimal 1.0")
    return plugins


class TestMinimalTuner(TunerContract):
    @pytest.fixture(autouse=True)
    def _installed(self, with_minimal: PluginManager, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("embedtune.plugins.plugin_manager", lambda: with_minimal)

    def make(self, trainset: QADataset, path: Path, **options: object) -> BaseEmbeddingTuner:
        return MinimalTuner("base", trainset, path=path, **options)  # type: ignore[arg-type]


def make(target: Path, **arguments: Any) -> MinimalTuner:
    return MinimalTuner("base", **{"trainset": tiny_dataset(), "path": target, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": None}, r"Give path=\.\.\.: the folder that the tuned model is written to"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1; got 0"),
        ({"epochs": -1}, "got -1"),
        ({"epochs": 1.5}, "got 1.5"),
        ({"epochs": "2"}, "got '2'"),
        ({"epochs": float("nan")}, "got nan"),
        ({"epochs": float("inf")}, "got inf"),
        ({"lr": 1e-5}, "MinimalTuner has no option 'lr'. Options: dim, crash"),
        ({"lr": 1, "dimm": 2}, "has no option 'lr', 'dimm'"),
        ({"trainset": QADataset({"q": "how?"}, {"c": "so"}, {"q": ["c"]})}, "at least 2 pairs .* got 1"),
        ({"valset": tiny_dataset(1)}, "The validation set is not independent of the training set: shared are 2 query"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=message):
        make(tmp_path / "tuned", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_one_query_with_two_answers_is_two_pairs(tmp_path: Path) -> None:
    """Enough to be accepted, although there is one query only."""
    two = QADataset({"q": "how?"}, {"c": "so", "d": "or so"}, {"q": ["c", "d"]})
    assert make(tmp_path / "tuned", trainset=two).trainset is two


def test_a_foreign_target_is_refused_at_once_and_stays(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ModelFolderError, match=r"not written by embedtune \(it holds 'thesis.tex'"):
        make(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_path_is_absolute_and_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert make(Path("models/tuned")).path == tmp_path / "models" / "tuned"
    assert make(Path("~/tuned")).path == tmp_path / "tuned"


def test_options_have_their_defaults_and_take_their_values(tmp_path: Path) -> None:
    assert make(tmp_path / "a").options == MinimalTuner.Options()
    assert make(tmp_path / "a", dim=8).options.dim == 8


def test_a_tuner_without_options_says_none(tmp_path: Path) -> None:
    class Bare(BaseEmbeddingTuner):
        def finetune(self) -> None:
            raise NotImplementedError

    with pytest.raises(TuningError, match=r"Bare has no option 'epoch'\. Options: none"):
        Bare("base", tiny_dataset(), path=tmp_path / "tuned", epoch=3)


def test_the_base_class_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseEmbeddingTuner("base", tiny_dataset(), path="never")  # type: ignore[abstract]


def test_tune_returns_the_result_and_replaces_an_earlier_model(tmp_path: Path, with_minimal: PluginManager) -> None:
    for seed in (1, 2):
        result = tune("base", tiny_dataset(), path=tmp_path / "tuned", tuner="minimal", seed=seed, plugins=with_minimal)
    assert result.path == tmp_path / "tuned"
    assert not result.kept_base
    assert [entry.name for entry in tmp_path.iterdir()] == ["tuned"]


def test_tune_hands_on_unknown_options(tmp_path: Path, with_minimal: PluginManager) -> None:
    with pytest.raises(TuningError, match="MinimalTuner has no option 'epoch'"):
        tune("base", tiny_dataset(), path=tmp_path / "tuned", tuner="minimal", plugins=with_minimal, epoch=3)


def test_a_tuner_that_sets_no_result_is_named(tmp_path: Path, with_minimal: PluginManager) -> None:
    class Silent(MinimalTuner):
        def finetune(self) -> None:
            pass

    class Plugin:
        @hookimpl
        def embedtune_tuners(self) -> list[TunerBackend]:
            return [TunerBackend(name="silent", load=lambda: Silent)]

    with_minimal.register(Plugin(), "silent", "silent 1.0")
    with pytest.raises(TuningError, match="The tuner 'silent' ended without a result"):
        tune("base", tiny_dataset(), path=tmp_path / "tuned", tuner="silent", plugins=with_minimal)


# Resuming


def interrupt(path: Path, **arguments: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(path, crash=True, **arguments).finetune()


def resumed(path: Path) -> bool:
    record = read_record(path)
    assert record is not None
    return bool(record.configuration["resumed"])


@pytest.mark.parametrize("resume", [True, False])
def test_an_interrupted_run_goes_on_only_if_asked(resume: bool, tmp_path: Path) -> None:
    interrupt(tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()
    make(tmp_path / "tuned", resume=resume).finetune()
    assert resumed(tmp_path / "tuned") is resume
    assert [entry.name for entry in tmp_path.iterdir()] == ["tuned"]


def test_an_interrupted_run_leaves_the_earlier_model(tmp_path: Path) -> None:
    make(tmp_path / "tuned").finetune()
    before = read_record(tmp_path / "tuned")
    interrupt(tmp_path / "tuned")
    assert read_record(tmp_path / "tuned") == before


def test_resume_where_nothing_was_begun_begins(tmp_path: Path) -> None:
    make(tmp_path / "tuned", resume=True).finetune()
    assert not resumed(tmp_path / "tuned")


@pytest.mark.parametrize(
    ("change", "difference"),
    [({"epochs": 3}, "epochs"), ({"seed": 1, "trainset": tiny_dataset(5)}, "seed, train"), ({"seed": 7}, "seed")],
)
def test_resuming_another_job_is_refused_and_names_what_differs(
    change: dict[str, Any], difference: str, tmp_path: Path
) -> None:
    interrupt(tmp_path / "tuned")
    with pytest.raises(TuningError, match=f"the interrupted run differs in {difference}. Give the same arguments"):
        make(tmp_path / "tuned", resume=True, **change).finetune()
    make(tmp_path / "tuned", resume=True).finetune()
    assert resumed(tmp_path / "tuned"), "the refused run must not harm the interrupted one"


def test_a_kill_while_the_job_is_noted_does_not_block_resuming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note is renamed in: half of one would be an error at every later resume."""

    def killed(source: object, target: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed)
        interrupt(tmp_path / "tuned")
    assert not (tmp_path / ".tuned.partial" / "job.json").exists()
    make(tmp_path / "tuned", resume=True).finetune()
    assert read_record(tmp_path / "tuned") is not None


def test_digest_of_a_data_set_knows_content_and_order() -> None:
    dataset = tiny_dataset()
    assert dataset_digest(dataset) == dataset_digest(tiny_dataset())
    assert dataset_digest(None) is None
    backwards = dataset.subset(reversed(dataset.queries))
    assert len({dataset_digest(dataset), dataset_digest(backwards), dataset_digest(tiny_dataset(3))}) == 3
    assert json.dumps(dataset_digest(dataset))
