"""From a reading and its vectors to the rows of the tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from m3search.privacy import LINK, Pseudonyms, Sealed, scrub

if TYPE_CHECKING:
    from m3search.indexer.embed import Embedded
    from m3search.indexer.plan import Work
    from m3search.indexer.read import Reading
    from m3search.types import Float32


@dataclass(frozen=True, slots=True)
class RowWriter:
    """Makes rows; everything that leaves here is free of direct identifiers."""

    pseudonyms: Pseudonyms
    run_id: str
    sealed: Sealed | None = None  # for archives in which a study can be looked up by its UID

    def item(self, embedded: Embedded, text: str, text_vector: Float32 | None, now: datetime) -> dict[str, Any]:
        """A row of `stores.schema.items`; what is not known is null, so that no filter takes it for a value."""
        work, reading = embedded.work, embedded.reading
        source, tags = work.source, reading.tags
        row = {
            "item_id": work.item_id,
            "uri": work.uri,
            "locator": f"series={work.series_key}" if len(source.files) > 1 else "",
            "modality": source.modality,
            "modality_from": source.modality_from,
            "format": source.format,
            "vector": embedded.vector,
            "text_vector": text_vector,
            "text": text,
            "labels": [scrub(label, secrets_of(work, reading)) for label in work.row.labels],
            "patient_key": self.patient_key(work, reading),
            "study_key": self.pseudonyms.of(reading.identity.study_uid),
            "series_key": work.series_key or self.pseudonyms.of(reading.identity.series_uid),
            "sex": tags.sex or work.row.sex,
            "age_band": tags.age_band,
            "body_part": tags.body_part,
            "view": tags.view or scrub(work.row.view, secrets_of(work, reading)),
            "laterality": tags.laterality,
            "year": tags.year,
            "parts": len(reading.locators),
            "thumbnail": reading.thumbnail,
            "provenance": json.dumps({**reading.provenance, **self._link(reading)}),
            "described": work.described,
            "files": [entry.as_row() for entry in work.files],
            "run_id": self.run_id,
            "indexed_at": now,
        }
        return {column: None if isinstance(value, str) and not value else value for column, value in row.items()}

    def _link(self, reading: Reading) -> dict[str, str]:
        study = reading.identity.study_uid
        return {LINK: self.sealed.seal(study)} if self.sealed and study else {}

    def patient_key(self, work: Work, reading: Reading) -> str:
        """Of the patient whom the manifest names, else the file; "" where neither does."""
        return self.pseudonyms.of(work.row.patient_id or reading.identity.patient_id)

    def parts(self, embedded: Embedded) -> list[dict[str, Any]]:
        """Rows of `stores.schema.parts`: none for an item that is one image."""
        if len(embedded.reading.locators) < 2:
            return []
        return [
            {
                "part_id": f"{embedded.work.item_id}/{index}",
                "item_id": embedded.work.item_id,
                "index": index,
                "locator": locator,
                "vector": vector,
            }
            for index, (locator, vector) in enumerate(
                zip(embedded.reading.locators, embedded.part_vectors, strict=True)
            )
        ]


def text_of(work: Work, reading: Reading) -> str:
    """The item's text: the manifest's or a report's, else the file's own, without what names a person."""
    return scrub(work.row.text or reading.text, secrets_of(work, reading))


def secrets_of(work: Work, reading: Reading) -> tuple[str, ...]:
    """What the file and the manifest state of the person."""
    return (*reading.identity.secrets, work.row.patient_id)
