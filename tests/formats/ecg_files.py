"""ECGs in the formats of carts and Holter recorders, written from their specifications."""

from __future__ import annotations

import base64
import struct
import zlib
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")  # what carts store; the others follow from these
SCP_CODES = {"I": 1, "II": 2, "V1": 3, "V2": 4, "V3": 5, "V4": 6, "V5": 7, "V6": 8}  # EN 1064, table of lead codes
NANOVOLTS = 2500  # of one count
RATE = 500


def counts(seconds: float = 10.0, seed: int = 1) -> npt.NDArray[np.int16]:
    """(8, T) as an amplifier gives them: beats of different height, and the noise of its last bits."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    beat = np.exp(-(((time % 0.8) - 0.3) ** 2) / 0.0008)
    height = np.array([240, 440, -200, -120, 80, 300, 480, 360])[:, None]
    return (height * beat + rng.normal(0, 4, (len(LEADS), len(time)))).round().astype(np.int16)


def millivolts(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    return samples * (NANOVOLTS / 1e6)


def _crc(data: bytes) -> bytes:
    """CRC-CCITT of EN 1064, 5.3.2: x^16 + x^12 + x^5 + 1, from all ones."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return struct.pack("<H", crc)


def _section(number: int, body: bytes, reserved: bytes = b"\0" * 6) -> bytes:
    body += b"\0" * (len(body) % 2)
    rest = struct.pack("<HIBB", number, 16 + len(body), 13, 13) + reserved + body
    return _crc(rest) + rest


def scp(samples: npt.NDArray[np.int16], differences: int = 0, **person: str) -> bytes:
    """SCP-ECG (EN 1064) without Huffman coding, as amplitudes or as differences of first or second order."""
    stored = samples.astype(np.int64)
    if differences == 1:
        stored = np.concatenate([stored[:, :1], np.diff(stored)], axis=1)
    elif differences == 2:
        stored = np.concatenate([stored[:, :2], np.diff(stored, n=2)], axis=1)
    texts = {0: person.get("last", "Weiss"), 1: person.get("first", "Anna"), 2: person.get("id", "4711-X")}
    tags = b"".join(struct.pack("<BH", tag, len(text) + 1) + text.encode() + b"\0" for tag, text in texts.items())
    tags += struct.pack("<BHHB", 4, 3, 64, 1)  # age in years
    tags += struct.pack("<BHB", 8, 1, 2)  # sex: female
    tags += struct.pack("<BHHBB", 25, 4, 2019, 3, 12) + struct.pack("<BHBBB", 26, 3, 8, 30, 0)
    tags += struct.pack("<BH", 255, 0)
    length = samples.shape[1]
    leads = bytes([len(LEADS), len(LEADS) << 3 | 4])
    leads += b"".join(struct.pack("<IIB", 1, length, SCP_CODES[lead]) for lead in LEADS)
    data = [row.astype("<i2").tobytes() for row in stored]
    rhythm = struct.pack("<HHBB", NANOVOLTS, 1_000_000 // RATE, differences, 0)
    rhythm += b"".join(struct.pack("<H", len(row)) for row in data) + b"".join(data)
    statement = b"Sinus rhythm. Confirmed by Dr. Weiss\0"
    report = struct.pack("<BHBBBBBB", 1, 2019, 3, 12, 8, 30, 0, 1)  # confirmed, when, one statement
    report += struct.pack("<BH", 1, len(statement)) + statement
    sections = {1: _section(1, tags), 3: _section(3, leads), 6: _section(6, rhythm), 8: _section(8, report)}
    at = 6 + 16 + 10 * (1 + len(sections)) + 1
    pointers = struct.pack("<HII", 0, at - 7, 7)
    for number, section in sections.items():
        pointers += struct.pack("<HII", number, len(section), at)
        at += len(section)
    body = _section(0, pointers, b"SCPECG") + b"".join(sections.values())
    sized = struct.pack("<I", 6 + len(body)) + body
    return _crc(sized) + sized


def aecg(samples: npt.NDArray[np.int16], unit: str = "uV") -> bytes:
    """HL7 v3 annotated ECG (ANSI/HL7 V3 ECG, R1-2004): decimal digits, scale and origin."""
    scale = {"uV": NANOVOLTS / 1e3, "mV": NANOVOLTS / 1e6}[unit]
    sequences = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead}" codeSystem="2.16.840.1.113883.6.24"/>'
        f'<value xsi:type="SLIST_PQ"><origin value="0" unit="{unit}"/><scale value="{scale}" unit="{unit}"/>'
        f"<digits>{' '.join(map(str, row))}</digits></value></sequence></component>"
        for lead, row in zip(LEADS, samples, strict=True)
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" type="Observation">
<id root="61d1a24f-b47e-41aa-ae95-f8ac302f4eeb"/>
<effectiveTime><low value="20190312083000"/><high value="20190312083010"/></effectiveTime>
<componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject><id extension="4711-X"/>
<subjectDemographicPerson><name><family>Weiss</family><given>Anna</given></name>
<administrativeGenderCode code="F"/><birthTime value="19550102"/></subjectDemographicPerson></trialSubject></subject>
</subjectAssignment></componentOf></timepointEvent></componentOf>
<component><series><code code="RHYTHM"/><effectiveTime><low value="20190312083000"/></effectiveTime>
<component><sequenceSet>
<component><sequence><code code="TIME_RELATIVE"/><value xsi:type="GLIST_PQ"><head value="0" unit="s"/>
<increment value="{1 / RATE}" unit="s"/></value></sequence></component>
{sequences}</sequenceSet></component></series></component></AnnotatedECG>""".encode()


def muse(samples: npt.NDArray[np.int16]) -> bytes:
    """GE MUSE RestingECG: little-endian samples in Base64, with a CRC-32 of each lead."""
    leads = "".join(
        f"<LeadData><LeadByteCountTotal>{row.nbytes}</LeadByteCountTotal>"
        f"<LeadSampleCountTotal>{len(row)}</LeadSampleCountTotal>"
        f"<LeadAmplitudeUnitsPerBit>{NANOVOLTS / 1e3}</LeadAmplitudeUnitsPerBit>"
        f"<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>{lead}</LeadID><LeadSampleSize>2</LeadSampleSize>"
        f"<LeadDataCRC32>{zlib.crc32(row.astype('<i2').tobytes())}</LeadDataCRC32>"
        f"<WaveFormData>{base64.b64encode(row.astype('<i2').tobytes()).decode()}</WaveFormData></LeadData>"
        for lead, row in zip(LEADS, samples, strict=True)
    )
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE RestingECG SYSTEM "restecg.dtd">
<RestingECG><MuseInfo><MuseVersion>8.0</MuseVersion></MuseInfo>
<PatientDemographics><PatientID>4711-X</PatientID><PatientAge>64</PatientAge><AgeUnits>YEARS</AgeUnits>
<Gender>FEMALE</Gender><PatientLastName>Weiss</PatientLastName><PatientFirstName>Anna</PatientFirstName>
</PatientDemographics>
<TestDemographics><AcquisitionDate>03-12-2019</AcquisitionDate><AcquisitionTime>08:30:00</AcquisitionTime>
<OverreaderLastName>Brandt</OverreaderLastName><OverreaderFirstName>Karl</OverreaderFirstName>
<Status>CONFIRMED</Status></TestDemographics>
<Diagnosis><DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>Atrial fibrillation</StmtText>
</DiagnosisStatement><DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>
Confirmed by Brandt, Karl (12)</StmtText></DiagnosisStatement></Diagnosis>
<Waveform><WaveformType>Median</WaveformType><SampleBase>{RATE}</SampleBase><SampleExponent>0</SampleExponent></Waveform>
<Waveform><WaveformType>Rhythm</WaveformType><SampleBase>{RATE}</SampleBase><SampleExponent>0</SampleExponent>
{leads}</Waveform></RestingECG>""".encode("latin-1")


def write_edf(path: Path, samples: npt.NDArray[np.int16], unit: str = "mV", **changes: object) -> Path:
    """EDF+ with the leads as "ECG I" and a respiration channel of a lower rate, in data records of a second."""
    from edfio import Edf, EdfSignal, Patient, Recording

    scale = {"mV": NANOVOLTS / 1e6, "uV": NANOVOLTS / 1e3}[unit]
    reach = 2048 * scale
    signals = [
        EdfSignal.from_digital(
            row, RATE, label=f"ECG {lead}", physical_dimension=unit, physical_range=(-reach, reach - scale),
            digital_range=(-2048, 2047),
        )
        for lead, row in zip(LEADS, samples, strict=True)
    ]  # fmt: skip
    slow = np.sin(np.arange(samples.shape[1] // 20) / 9)
    signals.append(EdfSignal(slow, RATE / 20, label="RESP", physical_dimension="V"))
    person = Patient(code="4711-X", sex="F", birthdate=date(1955, 1, 2), name="Anna_Weiss")
    recording = Recording(startdate=date(2019, 3, 12), investigator_technician_code="Brandt")
    Edf(signals, patient=person, recording=recording, data_record_duration=1).write(path)
    return path
