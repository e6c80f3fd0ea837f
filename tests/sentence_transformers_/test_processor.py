"""What the machine is asked for: memory that stays, half precision, the attention that suits."""

import platform
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedtune import QADataset
from embedtune_sentence_transformers.memory import kept_memory
from embedtune_sentence_transformers.precision import chosen_precision, fast_attention
from tuning_runs import tuned

PROBES = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")


def set_probes(monkeypatch: pytest.MonkeyPatch, *there: str) -> None:
    for probe in PROBES:
        monkeypatch.setattr(torch.cpu, probe, lambda probe=probe: probe in there, raising=False)


def test_memory_can_be_kept_twice_and_within_itself() -> None:
    for _ in range(2):
        with kept_memory(), kept_memory():
            assert torch.ones(1 << 20).sum().item() == 1 << 20
    assert torch.ones(1 << 20).sum().item() == 1 << 20


def test_an_error_within_goes_through() -> None:
    with pytest.raises(RuntimeError, match=r"^within$"), kept_memory():
        raise RuntimeError("within")


def test_on_another_c_library_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS, Windows and Alpine name none, and have no mallopt."""
    opened: list[object] = []
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", opened.append)
    with kept_memory():
        pass
    assert opened == []


@pytest.mark.parametrize("probe", PROBES)
def test_bf16_is_chosen_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch, probe: str) -> None:
    set_probes(monkeypatch, probe)
    assert [chosen_precision(asked, "cpu") for asked in ("auto", "bf16", "fp32")] == ["bf16", "bf16", "fp32"]


def test_a_torch_without_the_probes_counts_as_a_processor_without(monkeypatch: pytest.MonkeyPatch) -> None:
    for probe in PROBES:
        monkeypatch.delattr(torch.cpu, probe, raising=False)
    assert chosen_precision("auto", "cpu") == "fp32"


def test_a_gpu_is_asked_for_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_it, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has_it=has_it: has_it)
        assert chosen_precision("auto", "cuda") == precision


def test_another_device_is_safe() -> None:
    assert chosen_precision("auto", "mps") == "fp32"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_attention_gives_the_same_either_way(tiny_model: Path, precision: str) -> None:
    model = SentenceTransformer(str(tiny_model), device="cpu")
    before = model.encode("apple river tower")
    with fast_attention(model, precision):
        wanted = "eager" if precision == "bf16" else "sdpa"
        assert model[0].auto_model.config._attn_implementation == wanted
        assert model.encode("apple river tower") == pytest.approx(before, abs=1e-5)
    assert model[0].auto_model.config._attn_implementation == "sdpa"
    assert model.encode("apple river tower") == pytest.approx(before, abs=0)


@pytest.mark.parametrize(("there", "precision"), [((), "fp32"), (PROBES, "bf16")])
def test_a_run_takes_what_there_is_and_says_which(
    tiny_model: Path,
    code_words: QADataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: tuple[str, ...],
    precision: str,
) -> None:
    """bf16 is emulated where the processor lacks it: slow, and on a model so small it does not matter."""
    set_probes(monkeypatch, *there)
    result = tuned(str(tiny_model), code_words, tmp_path / "m", precision="auto", epochs=6, interpolations=())
    assert result.record.configuration["precision"] == precision
    assert result.record.metrics_after["hit_rate@5"] > result.record.metrics_before["hit_rate@5"] + 0.2
