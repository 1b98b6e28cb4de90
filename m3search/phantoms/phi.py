"""Planted patient data: made-up identifiers put where hospitals have real ones, for tests of privacy."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Phi:
    """Invented identifiers, unmistakable in a search: all of `values()` stand in every DICOM file and WFDB header.

    Each patient gets these with a number added (`of`), so a search for the strings here finds every patient's. The
    birth date is one for all, whatever the age: a marker to look for, not a fact.
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
