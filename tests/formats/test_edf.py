"""EDF records: samples by the second, units, what a header tells, damage."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from m3search import formats
from m3search.errors import Reason, UnreadableFile
from m3search.formats import edf
from m3search.modalities.ecg import ECG
from m3search.types import InputSpec, Source
from tests.formats.ecg_files import LEADS, RATE, counts, millivolts, write_edf

SPEC = InputSpec("signal", rate_hz=100, seconds=10, max_parts=4)


def reason_of(path: Path) -> Reason:
    with pytest.raises(UnreadableFile) as caught:
        edf.read(edf.read_header(path))
    assert "Weiss" not in str(caught.value)
    return caught.value.reason


def patched(path: Path, at: int, content: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[at : at + len(content)] = content
    path.write_bytes(data)
    return path


def test_header_tells_signals_and_person(tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a.edf", counts())
    assert formats.sniff(path) == formats.sniff(path.rename(tmp_path / "noname")) == "edf"
    header = edf.read_header(tmp_path / "noname")
    assert header.attributes["leads"] == (*(f"ECG {lead}" for lead in LEADS), "RESP")
    assert header.attributes["rates_hz"] == (*[RATE] * 8, RATE / 20)
    told = {key: header.attributes[key] for key in ("seconds", "year", "sex", "age")}
    assert told == {"seconds": 10, "year": 2019, "sex": "F", "age": 64}
    assert {"4711-X", "Anna Weiss", "Weiss", "Brandt", "02-JAN-1955"} <= set(header.identifiers)
    assert "Weiss" not in repr(header)


@pytest.mark.parametrize("unit", ["mV", "uV"])
def test_item_is_in_millivolts_by_the_names_of_leads(tmp_path: Path, unit: str) -> None:
    samples = counts()
    item = ECG().read(Source("ecg", "edf", (write_edf(tmp_path / "a.edf", samples, unit),)), SPEC)
    (part,) = item.parts
    np.testing.assert_allclose(part.data[[0, 1, *range(6, 12)]], millivolts(samples), atol=1e-4)
    np.testing.assert_allclose(part.data[2], part.data[1] - part.data[0], atol=1e-4)
    assert (part.rate_hz, item.tags.sex, item.tags.age_band, item.tags.year) == (RATE, "F", "60-69", 2019)
    assert item.provenance["missing_leads"] == []
    assert item.provenance["ignored_channels"] == 1


def test_windows_are_the_same_stretches_of_the_whole(tmp_path: Path) -> None:
    samples = counts(seconds=60)
    header = edf.read_header(write_edf(tmp_path / "a.edf", samples))
    window = edf.read(header, 12.34, 5, [1, 8])
    np.testing.assert_allclose(window.data[0], millivolts(samples)[1, 6170 : 6170 + 2500], atol=1e-4)
    assert window.data.shape == (2, 2500)  # respiration at 25 Hz, each sample 20 times
    assert len(np.unique(window.data[1])) == 125
    assert edf.read(header, 58, 10, [0]).data.shape == (1, 1000)  # cut at the end


def test_samples_without_a_range_are_of_no_unit(tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a.edf", counts())
    signals = int(path.read_bytes()[252:256])
    patched(path, 256 + signals * 104, b"0       " * signals)  # physical minimum
    patched(path, 256 + signals * 112, b"0       " * signals)  # and maximum
    assert set(edf.read_header(path).attributes["units"]) == {""}


def test_bdf_is_read_too(tmp_path: Path) -> None:
    from edfio import Bdf, BdfSignal

    signal = np.sin(np.arange(5000) / 50)
    Bdf([BdfSignal(signal, RATE, label="II", physical_dimension="mV")]).write(path := tmp_path / "a.bdf")
    header = edf.read_header(path)
    np.testing.assert_allclose(edf.read(header, 2, 1).data[0], signal[1000:1500], atol=1e-5)


def test_interruptions_are_refused(tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a.edf", counts())
    from edfio import EdfAnnotation, read_edf

    record = read_edf(path, lazy_load_data=False)
    record.set_annotations([EdfAnnotation(1, None, "beat")])
    record.write(path)
    continuous = patched(path, 192, b"EDF+D").read_bytes()
    assert edf.read_header(path).attributes["seconds"] == 10  # discontinuous in name only
    assert b"+5\x14\x14" in continuous  # when the sixth data record began
    path.write_bytes(continuous.replace(b"+5\x14\x14", b"+9\x14\x14"))
    assert reason_of(path) is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    ("at", "content", "expected"),
    [
        (0, b"garbage!", Reason.CORRUPT),
        (236, b"99999999", Reason.TRUNCATED),  # data records
        (244, b"0       ", Reason.CORRUPT),  # seconds of each
        (252, b"9999", Reason.CORRUPT),  # signals
        (252, b"-1  ", Reason.CORRUPT),
        (252, b"abcd", Reason.CORRUPT),
    ],
)
def test_contradictions_are_named(tmp_path: Path, at: int, content: bytes, expected: Reason) -> None:
    assert reason_of(patched(write_edf(tmp_path / "a.edf", counts()), at, content)) is expected


def test_cut_files_are_truncated(tmp_path: Path) -> None:
    whole = write_edf(tmp_path / "a.edf", counts()).read_bytes()
    for number, length in enumerate((100, len(whole) // 2, len(whole) - 2)):
        (tmp_path / f"{number}.edf").write_bytes(whole[:length])
        assert reason_of(tmp_path / f"{number}.edf") in (Reason.TRUNCATED, Reason.CORRUPT)


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_of_a_header_raise_nothing_else(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = write_edf(tmp_path / "a.edf", counts(2))
    for place in rng.integers(0, 256 * 10, 1 + seed % 5):
        patched(path, int(place), bytes([rng.integers(0, 256)]))
    with suppress(UnreadableFile):
        edf.read(edf.read_header(path))
