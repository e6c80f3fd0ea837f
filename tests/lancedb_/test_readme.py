"""The package's README says what runs."""

import re
from pathlib import Path

import pytest

from embedtune.testing import tiny_dataset
from hosted_tables import hashed, texts_of
from lance_tables import run_script
from rooms import ROOT
from servers import scripted_server
from small_models import first_layer_of, trained_cross_encoder


@pytest.mark.slow
def test_the_code_of_the_readme_runs(minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_dataset(24).save(tmp_path / "my_questions")
    (tmp_path / "my_base_model").symlink_to(minilm)
    (tmp_path / "my_reranker").symlink_to(
        trained_cross_encoder(first_layer_of(minilm, tmp_path / "small"), tmp_path / "cross", tiny_dataset())
    )
    readme = (ROOT / "packages" / "embedtune-lancedb" / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.setenv("OPENAI_API_KEY", "of-the-readme")
    with scripted_server(hashed) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        printed, _ = run_script("\n".join(blocks), folder=tmp_path)
        train = [*tiny_dataset(24).split(seed=0).train.queries.values()]
        sent = texts_of(server.requests)
        assert {sent[query] for query in train} == {1}
    scores, reason, found, reranked, adapted, found_again = printed.splitlines()
    assert scores.count("hit_rate@5=") == 2
    assert "95% interval" in reason
    assert found == "Drums are loud."
    assert reranked in {"Drums are loud.", "Apples are red."}
    assert "95% interval" in adapted
    assert found_again in tiny_dataset(24).corpus.values()
