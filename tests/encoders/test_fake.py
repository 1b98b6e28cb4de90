"""The encoder without weights."""

from __future__ import annotations

import numpy as np
import pytest

from m3search.encoders.fake import FAKE_INPUTS, FakeEncoder
from m3search.errors import UsageError
from m3search.types import Batch

EVERYDAY = {
    "xray": ["chest X-ray of pneumonia", "CXR, cardiomegaly"],
    "ct": ["axial chest CT", "computed tomography of the head"],
    "retina": ["fundus photograph with diabetic retinopathy", "drusen"],
    "ecg": ["normal sinus rhythm 12-lead ECG", "atrial fibrillation"],
    "pathology": ["H&E colorectal tissue", "biopsy of the colon"],
}


def item(modality: str, seed: int) -> Batch:
    random = np.random.RandomState(seed)
    if FAKE_INPUTS[modality].kind == "signal":
        return Batch(modality, random.standard_normal((1, 12, 1000)).astype(np.float32))
    return Batch(modality, random.randint(0, 256, (1, 3, 64, 64)).astype(np.uint8))


@pytest.mark.parametrize(("modality", "texts"), EVERYDAY.items())
def test_text_that_names_a_modality_lands_there(modality: str, texts: list[str]) -> None:
    encoder = FakeEncoder()
    items = {name: encoder.encode(item(name, seed=1))[0] for name in FAKE_INPUTS}
    for query in encoder.encode_text(texts):
        assert max(items, key=lambda name: float(items[name] @ query)) == modality


def test_equal_content_is_equal_and_other_content_is_not() -> None:
    encoder = FakeEncoder()
    for modality in FAKE_INPUTS:
        one, same, other = (encoder.encode(item(modality, seed))[0] for seed in (1, 1, 2))
        assert one @ same == pytest.approx(1, abs=1e-6)
        assert one @ other < 0.999


@pytest.mark.parametrize("modality", FAKE_INPUTS)
def test_a_vector_does_not_depend_on_what_is_embedded_beside_it(modality: str) -> None:
    """To the last bit that an index keeps: runs on one machine and on several are compared row by row."""
    encoder, batches = FakeEncoder(), [item(modality, seed) for seed in range(100)]
    together = encoder.encode(Batch(modality, np.concatenate([batch.inputs for batch in batches])))
    alone = np.concatenate([encoder.encode(batch) for batch in batches])
    np.testing.assert_array_equal(together.astype(np.float16), alone.astype(np.float16))


def test_texts_that_share_words_are_nearer() -> None:
    query, near, far = FakeEncoder().encode_text(["left pleural effusion", "small pleural effusion", "broken rib"])
    assert query @ near > query @ far + 0.3


def test_fingerprint_tells_encoders_apart() -> None:
    assert FakeEncoder().fingerprint == FakeEncoder().fingerprint
    assert (
        len({FakeEncoder().fingerprint, FakeEncoder(dim=128).fingerprint, FakeEncoder(name="other").fingerprint}) == 3
    )


def test_too_few_dimensions_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 21 dimensions"):
        FakeEncoder(dim=8)
