"""DICOM files of the phantoms: DX, CR, CT, ophthalmic photographs and 12-lead ECG, as a hospital's archive has them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from m3search.phantoms.ecg import LEADS
from m3search.phantoms.examination import Examination
from m3search.phantoms.phi import Phi

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.phantoms.ct import Volume
    from m3search.types import Float32, UInt8

MAKER = "m3search phantom"
IMPLEMENTATION = "2.25.302043790172249692526321623266752743501"  # a constant, so that files do not change with pydicom
STORED_BITS = 12


@dataclass(frozen=True, slots=True)
class Stamp:
    """What identifies an examination in a file."""

    examination: Examination
    phi: Phi | None = None  # of this patient

    def uid(self, *names: object) -> str:
        """The same names give the same UID."""
        exam = self.examination
        return str(uid.generate_uid(entropy_srcs=[MAKER, str(exam.seed), str(exam.patient.number), *map(str, names)]))

    @property
    def date(self) -> str:
        """Of the study, DICOM DA: between 2012 and 2023."""
        days = int(self.examination.rng("date").integers(0, 12 * 365))
        return str(np.datetime64("2012-01-01") + days).replace("-", "")


def write_film(path: Path, film: Float32, stamp: Stamp, computed: bool) -> None:
    """A chest radiograph from brightness in [0, 1]: DX MONOCHROME2, or CR with MONOCHROME1 where `computed`.

    Pixels fill a part of the 12-bit range only; window centre and width say which.
    """
    low, high = 300, 3600
    stored = np.rint(low + film * (high - low)).astype(np.uint16)
    if computed:
        stored = (2**STORED_BITS - 1 - stored).astype(np.uint16)
    storage = uid.ComputedRadiographyImageStorage if computed else uid.DigitalXRayImageStorageForPresentation
    ds = _common(stamp, storage, "CR" if computed else "DX")
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = stamp.examination.view
    ds.PatientOrientation = ["L", "F"]
    ds.StudyDescription = "Chest X-ray"
    spacing = f"{400 / film.shape[1]:.4f}"
    ds.ImagerPixelSpacing = [spacing, spacing]
    _grey(ds, stored)
    ds.PhotometricInterpretation = "MONOCHROME1" if computed else "MONOCHROME2"
    centre = (low + high) // 2
    ds.WindowCenter = str(2**STORED_BITS - 1 - centre if computed else centre)
    ds.WindowWidth = str(high - low)
    if not computed:
        ds.PresentationIntentType = "FOR PRESENTATION"
        ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1
        ds.PresentationLUTShape = "IDENTITY"
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
        ds.ImageLaterality = "U"
    _save(path, ds)


def write_series(folder: Path, volume: Volume, stamp: Stamp) -> list[Path]:
    """A CT series, one file a slice. Names and instance numbers are shuffled: only the position tells the order."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(volume.hu)
    rng = stamp.examination.rng("shuffle")
    instance, name = rng.permutation(count) + 1, rng.permutation(count)
    paths = []
    for slice_, hu in enumerate(volume.hu):
        ds = _common(stamp, uid.CTImageStorage, "CT", str(slice_))
        ds.BodyPartExamined = volume.region
        ds.StudyDescription = f"CT {volume.region.lower()}"
        ds.InstanceNumber = int(instance[slice_])
        ds.FrameOfReferenceUID = stamp.uid("ct", "frame")
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.PatientPosition = "HFS"
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        thickness, row, column = volume.spacing_mm
        x, y, z = volume.origin_mm
        ds.ImagePositionPatient = [f"{x:.3f}", f"{y:.3f}", f"{z + slice_ * thickness:.3f}"]
        ds.PixelSpacing = [f"{row:.5f}", f"{column:.5f}"]
        ds.SliceThickness = f"{thickness:.3f}"
        ds.KVP = "120"
        if volume.contrast:
            ds.ContrastBolusAgent = "Iodinated contrast, intravenous"
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
        head = volume.region == "HEAD"
        ds.WindowCenter, ds.WindowWidth = ("40", "80") if head else (["40", "-600"], ["400", "1500"])
        _grey(ds, np.clip(hu.astype(np.int32) + 1024, 0, 4095).astype(np.uint16))
        ds.PhotometricInterpretation = "MONOCHROME2"
        paths.append(folder / f"IM{name[slice_]:04d}.dcm")
        _save(paths[-1], ds)
    return sorted(paths)


def write_fundus(path: Path, image: UInt8, stamp: Stamp) -> None:
    """An ophthalmic photograph (PS3.3 A.41), JPEG compressed as cameras do."""
    from PIL import Image

    ds = _common(stamp, uid.OphthalmicPhotography8BitImageStorage, "OP")
    ds.StudyDescription = "Fundus photography"
    ds.ImageLaterality = {"left": "L", "right": "R"}[stamp.examination.findings[0].side]
    ds.ImageType = ["ORIGINAL", "PRIMARY", "", "COLOR"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_FULL_422", 0
    ds.Rows, ds.Columns = image.shape[:2]
    ds.NumberOfFrames = 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.LossyImageCompression, ds.LossyImageCompressionMethod = "01", "ISO_10918_1"
    ds.BurnedInAnnotation = "NO"
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=92, subsampling="4:2:2")
    ds.LossyImageCompressionRatio = f"{image.nbytes / stream.tell():.2f}"
    ds.PixelData = encapsulate([stream.getvalue()])
    _save(path, ds, uid.JPEGBaseline8Bit)


def write_waveform(path: Path, signal: Float32, rate_hz: float, stamp: Stamp) -> None:
    """A 12-lead ECG (PS3.3 A.34.3), float32 (12, T) millivolts, stored as 16 bits of 1.25 microvolts."""
    microvolts_per_bit = 1.25
    ds = _common(stamp, uid.TwelveLeadECGWaveformStorage, "ECG")
    ds.StudyDescription = "Resting ECG"
    ds.AcquisitionDateTime = stamp.date + "083000"
    samples = np.clip(np.rint(signal * 1000 / microvolts_per_bit), -32768, 32767).astype("<i2")
    group = Dataset()
    group.MultiplexGroupTimeOffset = "0"
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = samples.shape
    group.SamplingFrequency = f"{rate_hz:g}"
    group.MultiplexGroupLabel = "RHYTHM"
    group.ChannelDefinitionSequence = [_channel(number, lead, microvolts_per_bit) for number, lead in enumerate(LEADS)]
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformData = samples.T.tobytes()
    ds.WaveformSequence = [group]
    _save(path, ds)


SCP_ECG_LEADS = dict(zip(LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))  # PS3.16 CID 3001


def _channel(number: int, lead: str, microvolts_per_bit: float) -> Dataset:
    channel = Dataset()
    channel.WaveformChannelNumber = number + 1
    channel.ChannelSourceSequence = [_code(f"5.6.3-9-{SCP_ECG_LEADS[lead]}", "SCPECG", "1.3", f"Lead {lead}")]
    channel.ChannelSensitivity = f"{microvolts_per_bit:g}"
    channel.ChannelSensitivityUnitsSequence = [_code("uV", "UCUM", "1.4", "microvolt")]
    channel.ChannelSensitivityCorrectionFactor = "1"
    channel.ChannelBaseline = "0"
    channel.ChannelSampleSkew = "0"
    channel.WaveformBitsStored = 16
    channel.FilterLowFrequency, channel.FilterHighFrequency = "0.05", "150"
    return channel


def _code(value: str, scheme: str, version: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodingSchemeVersion, code.CodeMeaning = (
        value, scheme, version, meaning,
    )  # fmt: skip
    return code


def _common(stamp: Stamp, storage: uid.UID, modality: str, instance: str = "0") -> Dataset:
    """Patient, study, series and equipment (PS3.3 C.7), with planted identifiers where there are any."""
    exam = stamp.examination
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = storage
    ds.SOPInstanceUID = stamp.uid(exam.modality, instance)
    ds.StudyInstanceUID = stamp.uid(exam.modality, "study")
    ds.SeriesInstanceUID = stamp.uid(exam.modality, "series")
    ds.Modality = modality
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = stamp.date
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "083000"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", 1, 1
    ds.Manufacturer = MAKER
    ds.ManufacturerModelName = "m3search.phantoms"
    ds.ImageComments = f"{MAKER}: synthetic, no patient"
    ds.PatientID = exam.patient.id
    ds.PatientName = ds.PatientBirthDate = ds.AccessionNumber = ds.ReferringPhysicianName = ""
    ds.PatientSex = exam.patient.sex
    ds.PatientAge = f"{exam.patient.age:03d}Y"
    if stamp.phi is not None:
        _plant(ds, stamp.phi)
    return ds


def _plant(ds: Dataset, phi: Phi) -> None:
    """Identifiers in every place where archives have them, free text, nested sequences and private tags included."""
    ds.PatientName = phi.person_name
    ds.PatientID = ds.IssuerOfPatientID = phi.patient_id
    ds.OtherPatientIDs = [phi.social_number, phi.patient_id, phi.insurance_number]
    ds.AdmissionID = phi.admission_number
    ds.OtherPatientNames = phi.person_name
    ds.PatientBirthDate = phi.birth_date
    ds.PatientAddress = f"{phi.address}, {phi.city}"
    ds.PatientTelecomInformation = phi.e_mail
    ds.PatientTelephoneNumbers = phi.telephone
    ds.PatientComments = f"{phi.given_name} {phi.family_name}, {phi.telephone}"
    ds.AdditionalPatientHistory = f"Known to {phi.referring_physician}; {phi.family_name} lives at {phi.address}"
    ds.AccessionNumber = phi.accession_number
    ds.StudyID = phi.accession_number[-16:]
    ds.ReferringPhysicianName = ds.PerformingPhysicianName = phi.referring_physician
    ds.RequestingPhysician = phi.referring_physician
    ds.NameOfPhysiciansReadingStudy = phi.reading_physician
    ds.OperatorsName = phi.operator
    ds.InstitutionName = ds.InstitutionalDepartmentName = phi.institution
    ds.InstitutionAddress = phi.address
    ds.StationName = phi.institution.replace(" ", "")[:16]
    ds.ImageComments = f"{MAKER}; {phi.given_name} {phi.family_name}, {phi.patient_id}"
    request = Dataset()
    request.AccessionNumber = phi.accession_number
    request.RequestedProcedureID = phi.accession_number[-16:]
    request.RequestedProcedureDescription = f"For {phi.referring_physician}"
    ds.RequestAttributesSequence = [request]
    private = ds.private_block(0x0009, MAKER, create=True)
    private.add_new(0x01, "LO", f"{phi.person_name} {phi.social_number}"[:64])


def _grey(ds: Dataset, pixels: npt.NDArray[np.uint16]) -> None:
    ds.SamplesPerPixel = 1
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, STORED_BITS, STORED_BITS - 1, 0
    ds.BurnedInAnnotation = "NO"
    ds.PixelData = pixels.astype("<u2").tobytes()


def _save(path: Path, ds: Dataset, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = uid.UID(IMPLEMENTATION)
    meta.ImplementationVersionName = "M3SEARCH"
    ds.file_meta = meta
    if "PixelData" in ds:
        ds["PixelData"].VR = "OB" if syntax.is_compressed else "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
