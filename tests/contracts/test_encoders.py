"""What every encoder keeps, whatever it is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m3search.encoders import DEFAULT_ENCODER, load_encoder
from m3search.encoders.base import Encoder, normalise, pool_parts
from m3search.encoders.bundle import find_bundle
from m3search.errors import BundleError, UsageError
from m3search.modalities import MODALITIES
from m3search.modalities.ecg_layout import beside
from m3search.types import Batch

ENCODERS = ("fake", "tiny", DEFAULT_ENCODER)
TEXTS = ["chest x-ray of pneumonia", "normal ECG", "", "a much longer text about colorectal tissue " * 30, "CT"]


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    if request.param == "fake":
        return load_encoder("fake")
    if request.param == "tiny":
        return load_encoder(request.getfixturevalue("tiny_bundle"))
    try:
        folder: Path = find_bundle(request.param)
    except BundleError as error:
        pytest.skip(str(error))
    return load_encoder(folder)


def inputs_for(encoder: Encoder, modality: str, count: int, seed: int = 0) -> Batch:
    """Smooth random inputs of the right shape: noise alone is all alike to a trained network."""
    random = np.random.RandomState(seed)
    spec = encoder.inputs[modality]
    if spec.kind == "signal":
        samples = round(spec.rate_hz * spec.seconds)
        signals = random.standard_normal((count, 12, samples)).cumsum(axis=2).astype(np.float32) / 20
        signals[-1, 3:] = np.nan  # missing leads
        if spec.beat_seconds:
            signals = np.concatenate([signals, np.stack([beside(one, spec) for one in signals])], axis=2)
        return Batch(modality, signals)
    coarse = random.randint(0, 256, (count, 3, 4, 4)).astype(np.uint8)
    images = coarse.repeat(spec.size // 4, axis=2).repeat(spec.size // 4, axis=3)
    return Batch(modality, np.ascontiguousarray(images))


def test_knows_all_modalities(encoder: Encoder) -> None:
    assert set(encoder.inputs) == set(MODALITIES)
    assert len(encoder.fingerprint) == 64
    assert encoder.name


def test_text_vectors_are_float32_of_unit_length(encoder: Encoder) -> None:
    vectors = encoder.encode_text(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dim)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors[[0, 1, 3, 4]], axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_item_vectors_are_float32_of_unit_length(encoder: Encoder, modality: str) -> None:
    vectors = encoder.encode(inputs_for(encoder, modality, 3))
    assert vectors.shape == (3, encoder.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_neither_batch_size_nor_place_in_it_matters(encoder: Encoder, modality: str) -> None:
    batch = inputs_for(encoder, modality, 11)  # more than one call of the network, the last one partly filled
    together = encoder.encode(batch)
    one_by_one = np.concatenate([encoder.encode(Batch(modality, batch.inputs[i : i + 1])) for i in range(len(batch))])
    assert (together * one_by_one).sum(axis=1).min() >= 0.9999
    assert (together @ together.T)[0, 1] < 0.9999, "different inputs must differ, or this test shows nothing"


def test_neither_text_batch_nor_padding_matters(encoder: Encoder) -> None:
    texts = [TEXTS[0], TEXTS[1], TEXTS[4]] * 11 + [TEXTS[3]]  # two calls of the network, the last with one long text
    together = encoder.encode_text(texts)
    one_by_one = np.concatenate([encoder.encode_text([text]) for text in texts])
    assert (together * one_by_one).sum(axis=1).min() >= 0.9999
    assert (together @ together.T)[0, 1] < 0.9999


def test_same_input_gives_the_same_bits(encoder: Encoder) -> None:
    batch = inputs_for(encoder, "retina", 2)
    np.testing.assert_array_equal(encoder.encode(batch), encoder.encode(batch))
    np.testing.assert_array_equal(encoder.encode_text(TEXTS), encoder.encode_text(TEXTS))


def test_nothing_in_nothing_out(encoder: Encoder) -> None:
    assert encoder.encode_text([]).shape == (0, encoder.dim)
    empty = Batch("xray", inputs_for(encoder, "xray", 1).inputs[:0])
    assert encoder.encode(empty).shape == (0, encoder.dim)


def test_unknown_modality_is_named_with_the_known_ones(encoder: Encoder) -> None:
    with pytest.raises(UsageError, match=r"'ultrasound'.*xray"):
        encoder.encode(Batch("ultrasound", inputs_for(encoder, "xray", 1).inputs))


def test_inputs_of_another_shape_or_type_are_refused(encoder: Encoder) -> None:
    images = inputs_for(encoder, "xray", 1).inputs
    with pytest.raises(UsageError, match="the xray tower takes uint8"):
        encoder.encode(Batch("xray", images.astype(np.float32)))
    with pytest.raises(UsageError, match="the xray tower takes uint8"):
        encoder.encode(Batch("xray", images[:, :, :-1]))


def test_one_text_instead_of_a_list_is_refused(encoder: Encoder) -> None:
    with pytest.raises(UsageError, match="list of texts"):
        encoder.encode_text("chest x-ray")


def test_guess_names_an_image_modality(encoder: Encoder) -> None:
    image = np.random.RandomState(1).randint(0, 256, (90, 120, 3)).astype(np.uint8)
    modality, confidence = encoder.guess_modality(image)
    assert encoder.inputs[modality].kind == "image"
    assert 0 <= confidence <= 1


def test_missing_leads_never_give_nan(encoder: Encoder) -> None:
    batch = inputs_for(encoder, "ecg", 2)
    batch.inputs[0] = np.nan  # a record without a single lead still gives numbers
    assert np.isfinite(encoder.encode(batch)).all()


def test_normalise_keeps_zero_at_zero() -> None:
    np.testing.assert_allclose(normalise(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_pooled_parts_are_their_normalised_mean() -> None:
    np.testing.assert_allclose(pool_parts(np.eye(2, dtype=np.float32)), [0.5**0.5, 0.5**0.5], rtol=1e-6)
