"""Planted identifiers are in the files when asked for, and nowhere otherwise."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from m3search.phantoms import Phantom, Phi, write_archive

PHI = Phi(in_paths=True)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Phantom]]:
    folder = tmp_path_factory.mktemp("planted")
    return folder, write_archive(folder, 2, seed=1, phi=PHI)


def test_every_value_stands_in_every_dicom_file_wfdb_header_and_report(planted: tuple[Path, list[Phantom]]) -> None:
    folder, phantoms = planted
    assert len(set(PHI.values())) == 16
    for manifest in folder.rglob("manifest.csv"):
        assert [value for value in PHI.values() if value not in manifest.read_text()] == []
    files = [folder / name for p in phantoms for name in p.files if name.endswith((".dcm", ".hea"))]
    assert {file.suffix for file in files} == {".dcm", ".hea"}
    for file in files:
        content = file.read_bytes()
        assert [value for value in PHI.values() if value.encode() not in content] == [], file.name


def test_images_without_tags_carry_identifiers_in_their_own_way(planted: tuple[Path, list[Phantom]]) -> None:
    folder, phantoms = planted
    for phantom in phantoms:
        if phantom.format in ("raster", "slide"):
            assert PHI.patient_id.encode() in (folder / phantom.path).read_bytes()


def test_names_of_folders_and_files(planted: tuple[Path, list[Phantom]]) -> None:
    for phantom in planted[1]:
        assert PHI.family_name in phantom.path
        assert PHI.accession_number in phantom.path
        assert phantom.patient_id.startswith(PHI.patient_id)
    assert len({phantom.patient_id for phantom in planted[1]}) == 2


def test_identifiers_hide_in_sequences_and_private_tags_too(planted: tuple[Path, list[Phantom]]) -> None:
    folder, phantoms = planted
    ds = pydicom.dcmread(folder / next(p.path for p in phantoms if p.modality == "xray"))
    assert str(ds.PatientName) == PHI.person_name
    assert ds.PatientBirthDate == PHI.birth_date
    assert PHI.accession_number in ds.RequestAttributesSequence[0].AccessionNumber
    assert PHI.family_name in ds.private_block(0x0009, "m3search phantom")[0x01].value


def test_nothing_is_planted_unasked(tmp_path: Path) -> None:
    for phantom in write_archive(tmp_path, 1, seed=1, modalities=["xray", "ct", "ecg"]):
        for name in phantom.files:
            content = (tmp_path / name).read_bytes()
            assert not [value for value in PHI.values() if value.encode() in content or value in name]
            if name.endswith(".dcm"):
                ds = pydicom.dcmread(tmp_path / name, stop_before_pixels=True)
                assert not ds.PatientName
                assert not ds.PatientBirthDate
                assert not ds.AccessionNumber
                assert "InstitutionName" not in ds
                assert "synthetic" in ds.ImageComments


def test_pictures_are_the_same_with_and_without_identifiers(
    planted: tuple[Path, list[Phantom]], tmp_path: Path
) -> None:
    plain = write_archive(tmp_path, 1, seed=1, modalities=["xray"])[0]
    with_phi = next(p for p in planted[1] if p.modality == "xray")
    first, second = pydicom.dcmread(tmp_path / plain.path), pydicom.dcmread(planted[0] / with_phi.path)
    assert first.PixelData == second.PixelData
