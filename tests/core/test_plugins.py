"""Plugins: discovered one by one, asked by name, heard clearly when they are missing, broken or at odds."""

import importlib
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

import pluggy
import pytest

from embedtune import (
    BackendNotFoundError,
    DatasetError,
    ModelNotFoundError,
    PluginConflictError,
    PluginLoadError,
    PluginManager,
    QADataset,
    TextChunk,
    TrainingEvent,
    evaluate,
    hookimpl,
    read_record,
    tune,
)
from embedtune.plugins import EmbedderBackend, LLMBackend, PluginInfo, RerankerBackend, hookspecs
from embedtune.plugins.references import ModelReference, parse_reference
from embedtune.protocols import Embedder
from embedtune.testing import HashEmbedder, tiny_dataset

HEADER = "from embedtune import hookimpl\nfrom embedtune.plugins import TunerBackend\n"
TUNER = HEADER + "@hookimpl\ndef embedtune_tuners():\n    yield TunerBackend(name={name!r}, load=lambda: {name!r})\n"

Install = Callable[..., None]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on ``sys.path`` that fake distributions are installed into."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Install:
    """Install a distribution of one module, as pip would leave it on disk."""

    def write(distribution: str, source: str, *, version: str = "1.0", entry_point: str | None = None) -> None:
        module = "fake_" + distribution.replace("-", "_")  # "openai" may be loaded already, the real one
        (site / f"{module}.py").write_text(source, encoding="utf-8")
        info = site / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[embedtune]\n{entry_point or distribution} = {module}\n")
        importlib.invalidate_caches()

    return write


def discovered(site: Path) -> PluginManager:
    """The plugins that are installed in one folder."""
    points: list[EntryPoint] = []
    for distribution in distributions(path=[str(site)]):
        points += distribution.entry_points.select(group="embedtune")
    return PluginManager(found=points)


def with_hooks(plugins: PluginManager, name: str = "mine", **hooks: Callable[..., Any]) -> PluginManager:
    """The manager with one more plugin of the given hooks."""
    members = {hook: staticmethod(hookimpl(function)) for hook, function in hooks.items()}
    plugins.register(type("Plugin", (), members)(), name, f"{name} 1.0")
    return plugins


# By name


def test_a_missing_tuner_names_the_extra_and_what_is_installed(plugins: PluginManager) -> None:
    with pytest.raises(
        BackendNotFoundError,
        match=r"No tuner named 'sentence-transformers'\. Installed tuners: 'adapter'\. "
        r'Install it with: pip install "embedtune\[sentence-transformers\]"',
    ):
        plugins.tuner("sentence-transformers")


def test_a_name_that_no_extra_brings_is_only_missing(plugins: PluginManager) -> None:
    with pytest.raises(BackendNotFoundError, match=r"^No tuner named 'acme'\. Installed tuners: 'adapter'\.$"):
        plugins.tuner("acme")


def test_tune_names_the_extra(plugins: PluginManager) -> None:
    with pytest.raises(BackendNotFoundError, match=r"embedtune\[sentence-transformers\]"):
        tune("any", tiny_dataset(), path="never", plugins=plugins)


def test_an_installed_plugin_is_found_and_loaded_when_asked(site: Path, install: Install) -> None:
    install("acme-tuner", TUNER.format(name="acme"), version="2.3")
    manager = discovered(site)
    assert manager.tuner("acme").load() == "acme"  # type: ignore[comparison-overlap]
    assert manager.installed[-1] == PluginInfo("acme-tuner", "acme-tuner 2.3")


def test_built_ins_come_through_the_same_hooks(plugins: PluginManager) -> None:
    assert plugins.installed == (PluginInfo("embedtune", "embedtune"),)
    assert [layout.name for layout in plugins.dataset_formats()] == ["json", "beir", "csv", "labelled_rag"]
    assert [tuner.name for tuner in plugins.tuners()] == ["adapter"]
    assert [embedder.name for embedder in plugins.embedders()] == ["adapter"]


def test_kinds_may_be_empty(plugins: PluginManager) -> None:
    assert plugins.rerankers() == plugins.llms() == plugins.search_engines() == []


def test_the_order_of_discovery_is_by_name_not_by_path(site: Path, install: Install) -> None:
    for name in ("zebra", "ant", "mole"):
        install(name, TUNER.format(name=name))
    assert [info.name for info in discovered(site).installed] == ["embedtune", "ant", "mole", "zebra"]


# Broken plugins


def test_a_broken_plugin_raises_only_when_asked_for(site: Path, install: Install) -> None:
    install("openai", "raise ImportError('libssl is missing')")
    install("acme-tuner", TUNER.format(name="acme"))
    manager = discovered(site)
    assert manager.tuner("acme").name == "acme"
    with pytest.raises(
        PluginLoadError, match=r"'openai' of openai 1.0 offers the LLM 'openai', but is broken: .*libssl"
    ) as caught:
        manager.llm("openai:gpt-4.1")
    assert isinstance(caught.value.__cause__, ImportError)


def test_a_broken_plugin_is_listed_with_its_error(site: Path, install: Install) -> None:
    install("acme", "1 / 0")
    (info,) = [info for info in discovered(site).installed if info.error]
    assert (info.name, info.distribution, str(info.error)) == ("acme", "acme 1.0", "division by zero")


def test_a_missing_name_points_at_broken_plugins(site: Path, install: Install) -> None:
    """The entry point need not have the name of the tuner that it would offer."""
    install("acme", "1 / 0")
    with pytest.raises(
        BackendNotFoundError, match=r"No tuner named 'fast'.* broken: 'acme' of acme 1.0; `embedtune plugins`"
    ):
        discovered(site).tuner("fast")


def test_a_misspelt_hook_makes_a_broken_plugin(site: Path, install: Install) -> None:
    """By itself pluggy says nothing: the plugin would be silently without effect."""
    install("acme", HEADER + "@hookimpl\ndef embedtune_tuner():\n    return []\n")
    (info,) = [info for info in discovered(site).installed if info.error]
    assert isinstance(info.error, pluggy.PluginValidationError)
    assert "unknown hook 'embedtune_tuner'" in str(info.error)


@pytest.mark.parametrize(
    "hook", ["def embedtune_training_event(step):\n    pass\n", "def embedtune_zzz():\n    pass\n"]
)
def test_no_hook_of_a_refused_plugin_stays_active(hook: str, site: Path, install: Install) -> None:
    """Half a plugin would answer, though it is listed as broken."""
    install("acme", TUNER.format(name="acme") + "@hookimpl\n" + hook)
    manager = discovered(site)
    assert [info.name for info in manager.installed if info.error] == ["acme"]
    assert [row.name for row in manager.tuners()] == ["adapter"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("yield TunerBackend(name='a', load=None)\n    1 / 0", "division by zero"),
        ("return None", "not iterable"),
        ("return ['a']", "a row must have a name, .* got 'a'"),
        ("return [TunerBackend()]", "required keyword-only argument"),
    ],
)
def test_a_hook_that_fails_marks_its_plugin_and_stops_nobody(
    body: str, message: str, site: Path, install: Install
) -> None:
    install("broken", HEADER + f"@hookimpl\ndef embedtune_tuners():\n    {body}\n")
    install("fine", TUNER.format(name="fine"))
    manager = discovered(site)
    assert [row.name for row in manager.tuners()] == ["adapter", "fine"]
    (info,) = [info for info in manager.installed if info.error]
    assert info.name == "broken"
    with pytest.raises(type(info.error), match=message):
        raise info.error  # type: ignore[misc]


def test_registering_by_hand_raises_at_once(plugins: PluginManager) -> None:
    with pytest.raises(pluggy.PluginValidationError, match="unknown hook 'embedtune_tuner'"):
        with_hooks(plugins, embedtune_tuner=lambda: None)
    with_hooks(plugins, "again", embedtune_tuners=lambda: None)
    with pytest.raises(ValueError, match=r"'again' of again 1\.0 is there already"):
        with_hooks(plugins, "again", embedtune_tuners=lambda: None)


# Conflicts


def test_two_distributions_of_one_backend_name_are_both_named(site: Path, install: Install) -> None:
    install("acme-one", TUNER.format(name="fast"), version="1.2")
    install("acme-two", TUNER.format(name="fast"), version="3.4")
    with pytest.raises(
        PluginConflictError,
        match=r"2 plugins offer a tuner named 'fast': 'acme-one' of acme-one 1.2 and 'acme-two' of acme-two 3.4\. "
        r"Uninstall one of them, or disable one by its entry-point name: EMBEDTUNE_DISABLE_PLUGINS=name",
    ):
        discovered(site).tuner("fast")


def test_two_entry_points_of_one_name_are_both_kept(site: Path, install: Install) -> None:
    """By itself pluggy drops the second without a word, and which one that is follows sys.path."""
    install("acme-one", TUNER.format(name="one"), entry_point="acme")
    install("acme-two", TUNER.format(name="two"), entry_point="acme")
    assert [row.name for row in discovered(site).tuners()] == ["adapter", "one", "two"]


def test_one_distribution_found_twice_is_one_plugin(site: Path, install: Install) -> None:
    install("acme", TUNER.format(name="acme"))
    points = [p for d in distributions(path=[str(site)]) for p in d.entry_points.select(group="embedtune")]
    manager = PluginManager(found=points * 2)
    assert manager.tuner("acme").name == "acme"
    assert [info.error for info in manager.installed] == [None, None]


def test_two_claims_on_one_object_name_both(plugins: PluginManager) -> None:
    for name in ("one", "two"):
        with_hooks(plugins, name, embedtune_as_embedder=lambda thing: HashEmbedder())
    with pytest.raises(PluginConflictError, match=r"A int is claimed by 'one' of one 1.0 and 'two' of two 1.0"):
        plugins.as_embedder(5)


def test_two_backends_that_match_one_reference_are_named_with_the_way_out(plugins: PluginManager) -> None:
    for name in ("one", "two"):
        row = EmbedderBackend(name=name, load=lambda ref: HashEmbedder(), matches=lambda ref: True)
        with_hooks(plugins, name, embedtune_embedders=lambda row=row: [row])
    with pytest.raises(
        PluginConflictError, match=r"'a/b' is claimed by 'one' and 'two'\. Say which one loads it: 'one:a/b'"
    ):
        plugins.embedder("a/b")
    assert isinstance(plugins.embedder("two:a/b"), HashEmbedder)


@pytest.mark.parametrize("value", ["acme", "other, acme ", "acme,,"])
def test_a_plugin_can_be_disabled_by_its_entry_point(
    value: str, site: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("acme", "raise AssertionError('must not be imported')")
    monkeypatch.setenv("EMBEDTUNE_DISABLE_PLUGINS", value)
    assert [info.name for info in discovered(site).installed] == ["embedtune"]


# Claims and broadcasts


def test_a_claim_that_raises_does_not_stop_anothers(plugins: PluginManager) -> None:
    with_hooks(plugins, "broken", embedtune_as_embedder=lambda thing: 1 / 0)
    with_hooks(plugins, "fine", embedtune_as_embedder=lambda thing: HashEmbedder() if thing == 5 else None)
    assert isinstance(plugins.as_embedder(5), HashEmbedder)
    with pytest.raises(PluginLoadError, match=r"The plugin 'broken' of broken 1.0 failed on a str: division by zero"):
        plugins.as_embedder("stranger")


def test_a_claim_that_refuses_with_our_error_is_heard(plugins: PluginManager) -> None:
    """It knows the object, and says what is wrong with it."""

    def refuse(thing: object) -> Embedder | None:
        raise DatasetError("this node is an image")

    with_hooks(plugins, embedtune_as_text_chunk=refuse)
    with pytest.raises(DatasetError, match="this node is an image"):
        plugins.as_text_chunk(object())


def test_a_claim_takes_the_arguments_that_it_names(plugins: PluginManager) -> None:
    with_hooks(plugins, embedtune_as_text_chunk=lambda metadata_mode, thing: TextChunk(f"{thing} {metadata_mode}", "c"))
    assert TextChunk.from_llama_index_node(7, "embed", plugins=plugins).text == "7 embed"


def test_a_stranger_is_claimed_by_nobody(plugins: PluginManager) -> None:
    for show in (plugins.as_embedder, plugins.as_search, plugins.as_reranker, plugins.as_llm):
        assert show(object()) is None


def test_an_object_with_the_methods_needs_no_plugin(plugins: PluginManager) -> None:
    embedder = HashEmbedder()
    assert plugins.as_embedder(embedder) is embedder


def test_an_error_in_a_training_event_is_logged_and_goes_no_further(
    plugins: PluginManager, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[TrainingEvent] = []
    with_hooks(plugins, "fine", embedtune_training_event=lambda event: heard.append(event))
    with_hooks(plugins, "broken", embedtune_training_event=lambda event: 1 / 0)
    with_hooks(plugins, "deaf", embedtune_training_event=lambda: None)
    event = TrainingEvent(kind="step", step=1, total_steps=10)
    with caplog.at_level(logging.ERROR):
        plugins.training_event(event)
    assert heard == [event]
    assert "plugin 'broken' of broken 1.0 failed on a training event" in caplog.text


# References


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BAAI/bge-small-en-v1.5", ModelReference(None, "BAAI/bge-small-en-v1.5")),
        ("all-MiniLM-L6-v2", ModelReference(None, "all-MiniLM-L6-v2")),
        ("openai:text-embedding-3-small", ModelReference("openai", "text-embedding-3-small")),
        ("openai:accounts/acme/models/embed-1", ModelReference("openai", "accounts/acme/models/embed-1")),
        ("openai:llama3:8b", ModelReference("openai", "llama3:8b")),
        ("llama3:8b", ModelReference(None, "llama3:8b")),
        ("openai:", ModelReference(None, "openai:")),
    ],
)
def test_references_are_split_at_known_backends_alone(
    text: str, expected: ModelReference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_reference(text, ["openai"]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "C:\\models\\tuned",
        "models\\tuned",
        "~/gone",
        "./gone",
        "../gone",
        "/no/such/model",
        "gone/",
        "a/b/c",
        "",
        " ",
    ],
)
def test_what_can_only_be_a_folder_must_exist(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match="No model folder at") as caught:
        parse_reference(text, ["openai"])
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", [".", "./", "acme:."])
def test_the_working_folder_is_a_folder(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_reference(text, ["acme"]).ref == str(tmp_path)


@pytest.mark.parametrize("text", ["openai:~/gone", "openai:./gone", "openai:/no/such", "openai:C:\\gone"])
def test_a_folder_after_a_backends_name_must_exist_too(text: str) -> None:
    with pytest.raises(ModelNotFoundError, match="No model folder at"):
        parse_reference(text, ["openai"])


def test_a_name_inside_an_existing_folder_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``models/x`` beside a folder ``models`` is a typing error, and must not be looked up on a hub."""
    monkeypatch.chdir(tmp_path)
    assert parse_reference("models/x", []).ref == "models/x"
    (tmp_path / "models").mkdir()
    with pytest.raises(ModelNotFoundError, match=r"No model folder at 'models/x' \(looked at .*models.x'\)"):
        parse_reference("models/x", [])


@pytest.mark.parametrize("text", ["models/x", "./models/x", "~/models/x", "acme:models/x", "acme:~/models/x"])
def test_folders_become_absolute(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path in a table's metadata breaks in another working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "models" / "x").mkdir(parents=True)
    assert parse_reference(text, ["acme"]).ref == str(tmp_path / "models" / "x")


def test_a_model_folder_is_healed_before_it_is_missed(tmp_path: Path) -> None:
    (tmp_path / ".tuned.old").mkdir()
    assert parse_reference(str(tmp_path / "tuned"), []).ref == str(tmp_path / "tuned")


def test_options_reach_the_loader(plugins: PluginManager) -> None:
    given: list[object] = []
    row = EmbedderBackend(name="acme", load=lambda ref, **options: given.append((ref, options)))  # type: ignore[arg-type]
    with_hooks(plugins, embedtune_embedders=lambda: [row])
    plugins.embedder("acme:large", device="cpu")
    assert given == [("large", {"device": "cpu"})]


def test_rerankers_and_llms_load_by_reference_too(plugins: PluginManager) -> None:
    with_hooks(
        plugins,
        embedtune_rerankers=lambda: [RerankerBackend(name="acme", load=lambda ref: ("reranker", ref))],  # type: ignore[arg-type,return-value]
        embedtune_llms=lambda: [LLMBackend(name="acme", load=lambda ref: ("llm", ref))],  # type: ignore[arg-type,return-value]
    )
    assert plugins.reranker("acme:x") == ("reranker", "x")  # type: ignore[comparison-overlap]
    assert plugins.llm("acme:x") == ("llm", "x")  # type: ignore[comparison-overlap]


def test_a_reference_that_nobody_loads_lists_who_could(plugins: PluginManager) -> None:
    row = EmbedderBackend(name="sentence-transformers", load=lambda ref: HashEmbedder())
    with_hooks(plugins, embedtune_embedders=lambda: [row])
    with pytest.raises(
        BackendNotFoundError,
        match=r"No installed embedder loads 'x:y'. Installed embedders: 'adapter', "
        "'sentence-transformers'",
    ):
        plugins.embedder("x:y")


# A whole plugin in one file

ONE_FILE = '''
"""A tuner, the loader of what it writes, a format and a converter."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from embedtune import BaseEmbeddingTuner, ModelRecord, QADataset, TextChunk, TuneResult, hookimpl
from embedtune.folders import swap_in
from embedtune.plugins import DatasetFormat, EmbedderBackend, TunerBackend
from embedtune.records import SeenTexts
from embedtune.testing import HashEmbedder
from embedtune.tuner import ValidationPoint


class Embedder(HashEmbedder):
    def __init__(self, folder):
        super().__init__(dim=int((Path(folder) / "dim").read_text()))
        self.folder = folder


class WiderTuner(BaseEmbeddingTuner):
    name = "wider"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        dim: int = 128

    def finetune(self):
        with self.writing({"dim": self.options.dim}) as partial:
            (partial / "new" / "dim").write_text(str(self.options.dim))
            record = ModelRecord(
                base_model=str(self.model), base_fingerprint=None, fingerprint=f"wider-{self.options.dim}",
                tuner=self.name, chosen_step=1, kept_base=False, seen=SeenTexts.of([self.trainset]),
            )
            record.write(partial / "new")
            swap_in(self.path)
        self.result = TuneResult(
            path=self.path, record=record, history=(ValidationPoint(0, 0.0, {}),), n_pairs=1,
            truncated_share=0.0, seconds=0.0,
        )


@hookimpl
def embedtune_tuners():
    yield TunerBackend(name="wider", load=lambda: WiderTuner)


@hookimpl
def embedtune_embedders():
    yield EmbedderBackend(name="wider", load=Embedder, matches=lambda ref: (Path(ref) / "dim").is_file())


@hookimpl
def embedtune_dataset_formats():
    def save(dataset, path):
        ((query, text),) = dataset.queries.items()
        path.write_text("|".join([query, text, dataset.relevant_docs[query][0], *dataset.corpus.values()]))

    def load(path, split):
        query, text, chunk, passage = path.read_text().split("|")
        return QADataset({query: text}, {chunk: passage}, {query: [chunk]})

    yield DatasetFormat(name="bars", matches=lambda path: path.suffix == ".bars", save=save, load=load)


@hookimpl
def embedtune_as_text_chunk(thing):
    return TextChunk.from_chunk(thing["body"]) if isinstance(thing, dict) and "body" in thing else None
'''


def test_a_third_party_writes_tuner_format_and_converter_in_one_file(
    site: Path, install: Install, tmp_path: Path
) -> None:
    install("embedtune-wider", ONE_FILE)
    manager = discovered(site)
    chunk = manager.as_text_chunk({"body": "Apples grow on trees."})
    dataset = QADataset.from_responses(
        [{"body": "Apples grow on trees."}], {"q": "where do apples grow?"}, {"q": [chunk.id]}, plugins=manager
    )
    dataset.save(tmp_path / "set.bars", plugins=manager)
    assert QADataset.load(tmp_path / "set.bars", plugins=manager) == dataset
    trainset = tiny_dataset(4)
    result = tune("none", trainset, path=tmp_path / "tuned", tuner="wider", plugins=manager, dim=256)
    assert read_record(result.path) == result.record
    evaluation = evaluate(tmp_path / "tuned", trainset, plugins=manager)
    assert (evaluation.hit_rate, evaluation.n_seen) == (1.0, 8)


def test_installed_plugins_are_discovered_once(
    run_python: Callable[..., Any], tmp_path: Path, install: Install
) -> None:
    """A subprocess sees the fake distribution through the interpreter's own discovery."""
    install("acme", TUNER.format(name="acme"))
    done = run_python(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from embedtune import plugin_manager\n"
        "print(plugin_manager().tuner('acme').load(), plugin_manager() is plugin_manager())",
        str(tmp_path / "site-packages"),
    )
    assert done.stdout.split() == ["acme", "True"], done.stderr


def test_every_hook_says_how_it_is_asked() -> None:
    hooks = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("embedtune_")}
    assert len(hooks) == 12
    for name, hook in hooks.items():
        assert str(hook.__doc__).split(":")[0] in {"Collect", "Claim", "Broadcast"}, name


def test_a_plugin_that_exits_is_broken_and_ends_nothing(tmp_path: Path) -> None:
    """``sys.exit`` at its import is an error like any other."""
    script = (
        "import sys\nfrom importlib.metadata import EntryPoint\nfrom embedtune.plugins import PluginManager\n"
        "manager = PluginManager(found=[EntryPoint('quitter', 'quitting_plugin', 'embedtune')])\n"
        "print([type(info.error).__name__ for info in manager.installed if info.name == 'quitter'])\n"
    )
    (tmp_path / "quitting_plugin.py").write_text("import sys\nsys.exit(3)\n")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "['SystemExit']"), done.stderr
