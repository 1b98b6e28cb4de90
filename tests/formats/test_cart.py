"""SCP-ECG, HL7 aECG and MUSE XML: samples in millivolts, who and when, what is said, and hostile files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from m3search import formats
from m3search.errors import Reason, UnreadableFile
from m3search.formats import cart
from m3search.indexer import Options, index
from m3search.modalities.ecg import ECG
from m3search.stores.folder import IndexFolder
from m3search.types import InputSpec, Item, Source
from tests.formats.ecg_files import RATE, aecg, counts, millivolts, muse, scp, write_edf

SPEC = InputSpec("signal", rate_hz=100, seconds=10, max_parts=4)
WRITERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "scp": scp,
    "scp first differences": lambda samples: scp(samples, differences=1),
    "scp second differences": lambda samples: scp(samples, differences=2),
    "aecg": aecg,
    "aecg in millivolts": lambda samples: aecg(samples, "mV"),
    "muse": muse,
}


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def read(path: Path) -> Item:
    return ECG().read(Source("ecg", "cart", (path,)), SPEC)


def reason_of(path: Path) -> Reason:
    with pytest.raises(UnreadableFile) as caught:
        cart.read_header(path)
    assert "Weiss" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("kind", WRITERS)
def test_leads_come_in_millivolts_and_the_missing_ones_follow(kind: str, tmp_path: Path) -> None:
    samples = counts()
    path = saved(tmp_path / "noname", WRITERS[kind](samples))
    assert formats.sniff(path) == "cart"
    item = read(path)
    (part,) = item.parts
    np.testing.assert_allclose(part.data[[0, 1, *range(6, 12)]], millivolts(samples), atol=1e-5)
    assert part.rate_hz == RATE
    assert item.provenance["derived_leads"] == ["III", "aVR", "aVL", "aVF"]
    assert item.provenance["calibrated"]
    assert (item.tags.sex, item.tags.age_band, item.tags.year) == ("F", "60-69", 2019)
    assert {"4711-X", "Weiss", "Anna"} <= set(item.identity.secrets)


def test_utf_16_is_read_like_utf_8(tmp_path: Path) -> None:
    text = aecg(counts()).decode().replace("UTF-8", "UTF-16")
    path = saved(tmp_path / "a.xml", text.encode("utf-16"))
    assert formats.sniff(path) == "cart"
    np.testing.assert_allclose(read(path).parts[0].data[0], millivolts(counts())[0], atol=1e-5)


def test_what_the_cart_and_the_physician_said_is_the_text_without_their_names(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    saved(archive / "a.xml", muse(counts()))
    saved(archive / "b.scp", scp(counts(seed=2)))
    saved(archive / "readme.xml", b"<?xml version='1.0'?><readme>of something else</readme>")
    done = index(archive, tmp_path / "index", model="fake", options=Options(workers=0))
    assert (done.indexed, done.failed) == (2, 0)
    record = IndexFolder.open(tmp_path / "index").record()
    texts = {row["uri"]: row["text"] for row in record.rows(record.matching()).to_pylist()}
    assert texts["a.xml"].startswith("Atrial fibrillation\nConfirmed by")
    assert "Sinus rhythm" in texts["b.scp"]
    assert not [name for name in ("Brandt", "Karl", "Weiss") for text in texts.values() if name in text]


def test_no_person_of_any_carrier_reaches_the_index(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    saved(archive / "a.xml", muse(counts(seed=3)).replace(b"Atrial fibrillation", b"AF; Weiss, Anna seen by K. Brandt"))
    saved(archive / "b.xml", aecg(counts(seed=4)))
    saved(archive / "4711-X.scp", scp(counts(seed=5)))
    write_edf(archive / "Anna_Weiss.edf", counts(seed=6))
    assert index(archive, tmp_path / "index", model="fake", options=Options(workers=0)).indexed == 4
    stored = b"".join(path.read_bytes() for path in (tmp_path / "index").rglob("*") if path.is_file())
    secrets = ("Weiss", "Anna", "Brandt", "4711-X", "19550102", "02-JAN-1955", "61d1a24f")
    assert not [secret for secret in secrets if secret.encode() in stored]


def test_a_checksum_that_does_not_fit_is_damage(tmp_path: Path) -> None:
    damaged = bytearray(scp(counts()))
    damaged[len(damaged) // 2] ^= 1
    assert reason_of(saved(tmp_path / "a.scp", bytes(damaged))) is Reason.CORRUPT
    assert reason_of(saved(tmp_path / "b.xml", muse(counts()).replace(b"<LeadDataCRC32>", b"<LeadDataCRC32>9"))) is (
        Reason.CORRUPT
    )


def test_samples_without_a_unit_are_kept_as_they_are(tmp_path: Path) -> None:
    item = read(saved(tmp_path / "a.xml", muse(counts()).replace(b"MICROVOLTS", b"furlongs")))
    assert not item.provenance["calibrated"]
    assert item.parts[0].data[1].max() > 100


def test_entities_are_refused(tmp_path: Path) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    outside = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    for number, trick in enumerate((bomb, outside)):
        content = aecg(counts(1)).replace(b"<AnnotatedECG", trick + b"<AnnotatedECG", 1).replace(b"Weiss", b"&a;")
        assert reason_of(saved(tmp_path / f"{number}.xml", content)) is Reason.CORRUPT


def test_absurd_lengths_reserve_nothing(tmp_path: Path) -> None:
    content = bytearray(scp(counts(1)))
    first_lead = content.index(struct.pack("<IIB", 1, RATE, 1))
    content[first_lead + 4 : first_lead + 8] = struct.pack("<I", 2**32 - 1)
    assert reason_of(saved(tmp_path / "a.scp", bytes(content))) is Reason.TOO_LARGE


def test_what_is_no_cart_file(tmp_path: Path) -> None:
    assert reason_of(saved(tmp_path / "a.scp", b"#!/bin/sh\nscp a b\n")) is Reason.CORRUPT
    assert reason_of(saved(tmp_path / "b.scp", scp(counts())[:-700])) is Reason.TRUNCATED
    assert reason_of(saved(tmp_path / "c.xml", aecg(counts())[:-700])) is Reason.CORRUPT
    assert reason_of(saved(tmp_path / "d.xml", b"<RestingECG></RestingECG>")) is Reason.CORRUPT
    assert not cart.sniff(tmp_path / "page.html", b"<html>RestingECG")


@pytest.mark.parametrize("kind", ["scp", "aecg", "muse"])
def test_flipped_bytes_raise_nothing_else(kind: str, tmp_path: Path) -> None:
    whole = WRITERS[kind](counts(1))
    for seed in range(40):
        rng = np.random.default_rng(seed)
        damaged = bytearray(whole)
        for place in rng.integers(0, min(len(damaged), 3000), 1 + seed % 6):
            damaged[place] = rng.integers(0, 256)
        with suppress(UnreadableFile):
            read(saved(tmp_path / "a.scp", bytes(damaged)))
