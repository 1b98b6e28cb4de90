"""Planted patient data: made-up identifiers put where hospitals have real ones, for tests of privacy."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Phi:
    """Invented identifiers, unmistakable in a search.

    All of `values()` stand in every DICOM file, WFDB header and report. Each patient gets these with a number added
    (`of`), so a search for the strings here finds every patient's. The birth date is one for all, whatever the age: a
    marker to look for, not a fact.
    """

    family_name: str = "Quistgaardsen"
    given_name: str = "Zephyrinella"
    patient_id: str = "MRN77340192"
    birth_date: str = "19430812"  # DICOM DA
    accession_number: str = "ACC9081726"
    referring_physician: str = "Wollstonecroft"
    operator: str = "Brzeczkowska"
    institution: str = "Saint Xanthippe Infirmary"
    address: str = "17 Nightjar Crescent"
    telephone: str = "+4499700114488"
    social_number: str = "QQ123456C"
    city: str = "Llanfairbach"
    e_mail: str = "zephyrinella@quistgaardsen.example"
    admission_number: str = "ADM5502917"
    insurance_number: str = "INS88304471"
    reading_physician: str = "Featherstonehaugh"
    in_paths: bool = False  # also in the names of folders and files

    def values(self) -> tuple[str, ...]:
        """The strings to look for."""
        return (
            self.family_name,
            self.given_name,
            self.patient_id,
            self.birth_date,
            self.accession_number,
            self.referring_physician,
            self.operator,
            self.institution,
            self.address,
            self.telephone,
            self.social_number,
            self.city,
            self.e_mail,
            self.admission_number,
            self.insurance_number,
            self.reading_physician,
        )

    def report(self, findings: str) -> str:
        """A report on `findings` with all of it, as dictated reports have it."""
        day, month, year = self.birth_date[6:], self.birth_date[4:6], self.birth_date[:4]
        return (
            f"Patient: {self.given_name} {self.family_name}, MRN: {self.patient_id}, DOB: {day}/{month}/{year} "
            f"({self.birth_date}). Address: {self.address}, {self.city}; tel. {self.telephone}; {self.e_mail}\n"
            f"SSN {self.social_number}, insurance no {self.insurance_number}, admission no. {self.admission_number}, "
            f"accession number {self.accession_number}.\n"
            f"Referred by: Dr. {self.referring_physician}, {self.institution}. Operator: {self.operator}\n"
            f"{findings}\n"
            f"Reported by: {self.reading_physician}"
        )

    def of(self, number: int) -> Phi:
        """The identifiers of one patient."""
        return replace(
            self,
            patient_id=f"{self.patient_id}-{number:05d}",
            accession_number=f"{self.accession_number}{number:05d}",
            social_number=f"{self.social_number}{number:05d}",
        )

    @property
    def person_name(self) -> str:
        """As DICOM writes a name (PS3.5 6.2.1)."""
        return f"{self.family_name}^{self.given_name}"
