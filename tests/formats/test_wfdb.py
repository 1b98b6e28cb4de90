"""WFDB: every signal format the library writes, windows, multi-segment records, and headers that lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import wfdb as library

from m3search.errors import Reason, UnreadableFile
from m3search.formats import sniff, wfdb

RATE = 250
NAMES = ["I", "II", "V1"]


def curves(seconds: float, rate: int = RATE, leads: int = 3) -> np.ndarray:
    """(leads, T) millivolts, each lead another frequency, so that swapped leads show."""
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([0.8 * np.sin(2 * np.pi * (1 + lead) * time) for lead in range(leads)])


def write(folder: Path, name: str = "rec", fmt: str = "16", seconds: float = 8, comments: tuple[str, ...] = ()) -> Path:
    leads = len(NAMES)
    gain = 100 if fmt == "80" else 1000
    library.wrsamp(
        name, fs=RATE, units=["mV"] * leads, sig_name=NAMES, p_signal=curves(seconds).T, fmt=[fmt] * leads,
        adc_gain=[gain] * leads, baseline=[0] * leads, comments=list(comments), write_dir=str(folder),
    )  # fmt: skip
    return folder / f"{name}.hea"


def reason_of(path: Path) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as caught:
        wfdb.read(wfdb.read_header(path))
    return caught.value


@pytest.mark.parametrize("fmt", ["16", "212", "80", "24", "32", "516"])
def test_samples_come_back_in_physical_units(tmp_path: Path, fmt: str) -> None:
    signal = wfdb.read(wfdb.read_header(write(tmp_path, fmt=fmt)))
    assert signal.leads == tuple(NAMES)
    assert signal.rate_hz == RATE
    assert signal.data.dtype == np.float32
    np.testing.assert_allclose(signal.data, curves(8), atol=0.006)


def test_window_is_the_same_stretch_of_the_whole(tmp_path: Path) -> None:
    header = wfdb.read_header(write(tmp_path, fmt="212"))
    whole = wfdb.read(header)
    window = wfdb.read(header, start=2.5, seconds=3, channels=[2, 0])
    assert window.leads == ("V1", "I")
    np.testing.assert_array_equal(window.data, whole.data[[2, 0], 625:1375])


def test_window_past_the_end_is_cut(tmp_path: Path) -> None:
    header = wfdb.read_header(write(tmp_path))
    assert wfdb.read(header, start=6, seconds=10).data.shape == (3, 2 * RATE)


def test_header_describes_the_record_without_decoding(tmp_path: Path) -> None:
    path = write(tmp_path, comments=("Age: 61", "Name: DOE"))
    header = wfdb.read_header(path)
    assert header.companions == (tmp_path / "rec.dat",)
    assert header.attributes["leads"] == tuple(NAMES)
    assert header.attributes["seconds"] == 8
    assert header.attributes["comments"] == ("Age: 61", "Name: DOE")
    assert "DOE" not in repr(header)


def test_signals_of_different_rates_share_the_fastest(tmp_path: Path) -> None:
    fast, slow = curves(4, rate=500, leads=1)[0], curves(4, rate=125, leads=1)[0]
    library.wrsamp(
        "multi", fs=125, units=["mV", "mmHg"], sig_name=["II", "ABP"], e_p_signal=[fast, slow], samps_per_frame=[4, 1],
        fmt=["16", "16"], adc_gain=[1000, 1000], baseline=[0, 0], write_dir=str(tmp_path),
    )  # fmt: skip
    header = wfdb.read_header(tmp_path / "multi.hea")
    signal = wfdb.read(header, start=1, seconds=2)
    assert signal.rate_hz == 500
    np.testing.assert_allclose(signal.data[0], fast[500:1500], atol=2e-3)
    np.testing.assert_allclose(signal.data[1], np.repeat(slow[125:375], 4), atol=2e-3)
    assert any("different rates" in note for note in header.attributes["notes"])
    assert wfdb.read(header, channels=[1]).rate_hz == 125


def test_segments_are_joined_and_gaps_are_missing_samples(tmp_path: Path) -> None:
    write(tmp_path, "one", seconds=4)
    write(tmp_path, "two", seconds=2)
    (tmp_path / "master.hea").write_text(
        f"master/3 3 {RATE} {8 * RATE}\none {4 * RATE}\n~ {2 * RATE}\ntwo {2 * RATE}\n"
    )
    header = wfdb.read_header(tmp_path / "master.hea")
    signal = wfdb.read(header, start=3, seconds=5)
    assert {path.name for path in header.companions} == {"one.hea", "one.dat", "two.hea", "two.dat"}
    assert header.attributes["seconds"] == 8
    np.testing.assert_allclose(signal.data[:, :RATE], curves(4)[:, 3 * RATE :], atol=2e-3)
    assert np.isnan(signal.data[:, RATE : 3 * RATE]).all()
    np.testing.assert_allclose(signal.data[:, 3 * RATE :], curves(2), atol=2e-3)


def test_variable_layout_places_signals_by_the_layout(tmp_path: Path) -> None:
    write(tmp_path, "part", seconds=4)
    layout = "".join(f"~ 0 1000(0)/mV 16 0 0 0 0 {name}\n" for name in ("V1", "II", "PLETH"))
    (tmp_path / "lay.hea").write_text(f"lay 3 {RATE} 0\n{layout}")
    (tmp_path / "var.hea").write_text(f"var/2 3 {RATE} {4 * RATE}\nlay 0\npart {4 * RATE}\n")
    header = wfdb.read_header(tmp_path / "var.hea")
    signal = wfdb.read(header)
    assert signal.leads == ("V1", "II", "PLETH")
    np.testing.assert_allclose(signal.data[:2], curves(4)[[2, 1]], atol=2e-3)
    assert np.isnan(signal.data[2]).all()


def test_gain_that_is_not_stated_is_assumed_and_said(tmp_path: Path) -> None:
    np.array([200, -400, 100, 0], dtype="<i2").tofile(tmp_path / "g.dat")
    (tmp_path / "g.hea").write_text("g 1 250 4\ng.dat 16 0 16 0 0 0 0 II\n")
    header = wfdb.read_header(tmp_path / "g.hea")
    np.testing.assert_allclose(wfdb.read(header).data[0], [1, -2, 0.5, 0])
    assert any("gain not stated" in note for note in header.attributes["notes"])


def test_length_that_is_not_stated_is_that_of_the_file(tmp_path: Path) -> None:
    np.arange(500, dtype="<i2").tofile(tmp_path / "n.dat")
    (tmp_path / "n.hea").write_text("n 2 250\nn.dat 16 200 16 0 0 0 0 I\nn.dat 16 200 16 0 0 0 0 II\n")
    header = wfdb.read_header(tmp_path / "n.hea")
    assert header.attributes["seconds"] == 1.0
    assert wfdb.read(header).data.shape == (2, 250)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_microvolts_are_not_read_as_volts(tmp_path: Path, encoding: str) -> None:
    np.zeros(4, dtype="<i2").tofile(tmp_path / "u.dat")
    (tmp_path / "u.hea").write_bytes("u 1 250 4\nu.dat 16 1(0)/µV 16 0 0 0 0 II\n".encode(encoding))
    assert wfdb.read_header(tmp_path / "u.hea").attributes["units"] == ("µV",)


def test_missing_signal_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "rec.dat").unlink()
    error = reason_of(path)
    assert error.reason is Reason.MISSING_FILE
    assert "rec.dat" in error.message


def test_missing_segment_is_named(tmp_path: Path) -> None:
    write(tmp_path, "one", seconds=4)
    (tmp_path / "m.hea").write_text(f"m/2 3 {RATE} {8 * RATE}\none {4 * RATE}\ntwo {4 * RATE}\n")
    error = reason_of(tmp_path / "m.hea")
    assert error.reason is Reason.MISSING_FILE
    assert "two.hea" in error.message


@pytest.mark.parametrize("fmt", ["16", "212"])
def test_cut_signal_file_is_truncated(tmp_path: Path, fmt: str) -> None:
    path = write(tmp_path, fmt=fmt)
    dat = tmp_path / "rec.dat"
    dat.write_bytes(dat.read_bytes()[:-20])
    assert reason_of(path).reason is Reason.TRUNCATED


@pytest.mark.parametrize(
    "name", ["../secret.dat", "/etc/passwd", "C:\\secret.dat", "http://host/x.dat", "..", "a/b.dat"]
)
def test_header_cannot_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "h.hea").write_text(f"h 1 250 4\n{name} 16 200 16 0 0 0 0 II\n")
    error = reason_of(tmp_path / "h.hea")
    assert error.reason is Reason.CORRUPT
    assert "outside its own folder" in error.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.EMPTY),
        ("# only a comment\n", Reason.CORRUPT),
        ("rec two 250 10\n", Reason.CORRUPT),
        ("rec 2 250 10\nrec.dat 16 200\n", Reason.TRUNCATED),
        ("rec 1 0 10\nrec.dat 16 200\n", Reason.CORRUPT),
        ("rec 1 250 10\nrec.dat sixteen 200\n", Reason.CORRUPT),
        ("rec 1 250 10\nrec.dat 99 200\n", Reason.UNSUPPORTED),
        ("rec 0 250 10\n", Reason.UNSUPPORTED),
        ("rec/1 1 250 10\nrec 10\n", Reason.CORRUPT),
        ("rec 1 250 999999999999999\nrec.dat 508x99999 200\n", Reason.TOO_LARGE),
        ("rec " + "9" * 5000 + " 250 10\n", Reason.CORRUPT),
    ],
)
def test_broken_headers(tmp_path: Path, text: str, reason: Reason) -> None:
    (tmp_path / "rec.dat").write_bytes(bytes(100))
    path = tmp_path / "rec.hea"
    path.write_text(text)
    assert reason_of(path).reason is reason


def test_a_header_is_claimed_by_its_suffix_so_that_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert sniff(write(tmp_path)) == "wfdb"
    other = tmp_path / "notes.hea"
    other.write_text("Dear colleague,\nplease find enclosed\n")
    assert sniff(other) == "wfdb"
    assert reason_of(other).reason is Reason.CORRUPT
    assert not wfdb.sniff(tmp_path / "rec.txt", b"rec 3 250 2000\n")


@pytest.mark.shared_data
def test_every_record_of_the_archive(shared_data: Path) -> None:
    paths = sorted((shared_data / "archive" / "ecg").rglob("*.hea"))
    assert len(paths) >= 40
    for path in paths:
        ours = wfdb.read(wfdb.read_header(path), start=1, seconds=2)
        frames = library.rdheader(str(path.with_suffix(""))).fs
        theirs = library.rdrecord(str(path.with_suffix("")), sampfrom=round(frames), sampto=round(3 * frames))
        assert ours.leads == tuple(theirs.sig_name)
        # the library averages what one frame holds of a faster signal
        frame_means = ours.data.reshape(len(ours.leads), theirs.sig_len, -1).mean(axis=2)
        np.testing.assert_allclose(frame_means, theirs.p_signal.T, rtol=1e-4, atol=2e-2)


def test_comments_that_name_a_person_are_identifiers() -> None:
    comments = (
        "Name: Jane van Doe", "MRN: 4471-b", "Age: 63", "Sex: F", "Dx: 164889003", "Cardiologist: Dr. Smith, St Anne",
        "Address: 1 High Street, Ham; operator Brown", "Patient ID - none", "name: anonymous",
    )  # fmt: skip
    found = set(wfdb.identifiers_of(comments))
    assert {
        "Jane van Doe",
        "Jane",
        "van",
        "Doe",
        "4471-b",
        "Smith",
        "St Anne",
        "1 High Street",
        "Ham",
        "Brown",
    } <= found
    assert not {"63", "F", "164889003", "Dr", "anonymous", "High"} & found
