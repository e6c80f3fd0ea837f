"""The package's README says what runs."""

import re
from pathlib import Path

import pytest

from embedtune.testing import tiny_dataset
from lance_tables import run_script
from rooms import ROOT
from small_models import first_layer_of, trained_cross_encoder


@pytest.mark.slow
def test_the_code_of_the_readme_runs(minilm: Path, tmp_path: Path) -> None:
    tiny_dataset(24).save(tmp_path / "my_questions")
    (tmp_path / "my_base_model").symlink_to(minilm)
    (tmp_path / "my_reranker").symlink_to(
        trained_cross_encoder(first_layer_of(minilm, tmp_path / "small"), tmp_path / "cross", tiny_dataset())
    )
    readme = (ROOT / "packages" / "embedtune-lancedb" / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) == 3
    printed, _ = run_script("\n".join(blocks), folder=tmp_path)
    scores, reason, found, reranked = printed.splitlines()
    assert scores.count("hit_rate@5=") == 2
    assert "95% interval" in reason
    assert found == "Drums are loud."
    assert reranked in {"Drums are loud.", "Apples are red."}
