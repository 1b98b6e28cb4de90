"""What requests ask and answers hold, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from m3search.modalities import MODALITIES

ModalityName = Literal["xray", "ct", "retina", "ecg", "pathology"]
ItemId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
UploadId = Annotated[str, StringConstraints(pattern=r"^u[A-Za-z0-9_-]{22}$")]
Weight = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
WeightKind = Literal["text", "image", "item", "like", "unlike", "not"]
Facet = Literal["modality", "sex", "age_band", "body_part", "view", "laterality", "year", "labels", "format"]
SearchMode = Literal["exact", "ann", "filtered-exact", "filtered-ann"]
MOST_PARTS = 32  # of a query, of each kind

assert set(MODALITIES) == set(ModalityName.__args__)  # type: ignore[attr-defined]


class Strict(BaseModel):
    """A request: a field that nobody knows is a typing error."""

    model_config = ConfigDict(extra="forbid")


class Selection(Strict):
    """Which items count."""

    # long enough to name the 2,000 items in a box on the page's map
    filters: Annotated[str, StringConstraints(max_length=100_000)] | None = Field(
        None, description="A filter expression: sex = 'F' and year >= 2015.", examples=["sex = 'F' and year >= 2015"]
    )
    modality: list[ModalityName] = Field([], max_length=10, description="Only these; none named: all.")


class Search(Selection):
    """A query: any of a text, uploads and stored items."""

    text: Annotated[str, StringConstraints(max_length=10_000)] | None = Field(
        None,
        examples=["cardiomegaly without effusion"],
        description="A finding in plain words; denials are understood.",
    )
    uploads: list[UploadId] = Field([], max_length=MOST_PARTS, description="From POST /v1/uploads.")
    items: list[ItemId] = Field([], max_length=MOST_PARTS, description="Stored items to find the like of.")
    like: list[ItemId] = Field([], max_length=MOST_PARTS, description="Hits should be more like these.")
    unlike: list[ItemId] = Field([], max_length=MOST_PARTS, description="Hits should be less like these.")
    weights: dict[WeightKind, Weight | list[Weight]] = Field(
        {}, description="Of each kind of part, one number or one for each; image is for uploads. Below 0 turns away."
    )
    group_by: Literal["study", "patient"] | None = Field(None, description="One hit for each, its best item.")
    mode: Literal["vector", "text", "hybrid"] = Field("vector", description="What ranks: vectors, words, both.")
    calibration: Literal["none", "mean", "standard", "both"] | None = None
    hubness: bool = Field(False, description="Lower items that are near to whatever is asked.")
    rerank: bool = Field(False, description="Order the first 100 anew by their slices, tiles and windows.")
    limit: int = Field(24, ge=1, le=10_000)
    offset: int = Field(0, ge=0, le=10_000)


class Export(Search):
    """A search whose hits are written as a file."""

    format: Literal["csv", "html"] = "csv"


class FacetsAsked(Selection):
    """Which counts are wanted."""

    columns: list[Facet] = Field([], max_length=9, description="None named: all.")


class Answer(BaseModel):
    """What is answered."""


class ErrorBody(Answer):
    """What went wrong, and what to do."""

    code: str
    message: str
    remedy: str
    reason: str | None = None


class ErrorAnswer(Answer):
    """The one shape of every error."""

    error: ErrorBody


class HitOut(Answer):
    """One result."""

    rank: int
    item_id: str
    modality: str
    score: float
    explained: str
    standing: float | None
    uri: str
    text: str
    labels: list[str]
    study_key: str
    patient_key: str
    best_part: str
    format: str
    parts: int


class Found(Answer):
    """Results."""

    query: str
    mode: SearchMode
    took_ms: float
    score_kind: Literal["calibrated", "cosine", "bm25", "fused"]
    score_words: str
    denied: list[str]
    matching: int
    items: int
    offset: int
    limit: int
    more: bool
    hits: list[HitOut]


class UploadOut(Answer):
    """What became of an upload."""

    upload_id: str
    modality: str
    modality_from: str
    parts: int
    item_id: str | None
    notes: list[str]
    expires_s: int


class ItemOut(Answer):
    """All that is stored of an item, but for vectors and picture."""

    item_id: str
    modality: str
    modality_from: str
    format: str
    uri: str
    locator: str
    text: str
    labels: list[str]
    sex: str
    age_band: str
    body_part: str
    view: str
    laterality: str
    year: int | None
    patient_key: str
    study_key: str
    series_key: str
    parts: int
    files: int
    provenance: dict[str, Any]
    provenance_words: list[str]
    encoder: str
    dim: int
    run_id: str
    indexed_at: str | None
    archive: bool


class PartOut(Answer):
    """A slice, tile or window."""

    index: int
    locator: str


class PartsOut(Answer):
    """Those of an item; none where it is one image."""

    parts: list[PartOut]


class Neighbours(Answer):
    """Of an item."""

    within: list[HitOut]
    across: dict[str, list[HitOut]]


class FacetValue(Answer):
    """One value of a column."""

    value: str | int
    count: int
    expression: str


class Facets(Answer):
    """How many items have which values."""

    matching: int
    items: int
    facets: dict[str, list[FacetValue]]


class SegmentOut(Answer):
    """The copy that searches read."""

    kind: str
    items: int
    changed: int
    target: float | None
    recall_items: float | None
    recall_texts: float | None


class LimitsOut(Answer):
    """What may be asked for."""

    upload_bytes: int
    results: int
    stream: int


class StatusOut(Answer):
    """The index at a glance."""

    version: str
    items: int
    by_modality: dict[str, int]
    encoder: str
    fingerprint: str
    dim: int
    failures: int
    last_run: str | None
    index_version: int
    segment: SegmentOut | None
    audit: bool
    limits: LimitsOut
    calibrations: list[str]


class Point(Answer):
    """An item in the plane."""

    item_id: str
    modality: str
    x: float
    y: float


class ProjectionOut(Answer):
    """Items in the plane."""

    points: list[Point]
    explained: list[float]
    items: int


class SessionOut(Answer):
    """A browser's session."""

    signed_in: bool
    expires_s: int


class Health(Answer):
    """Whether searches are answered."""

    status: Literal["ok"]


class ViewOut(BaseModel):
    """What can be looked at, larger. Which fields there are depends on `kind`."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["ct", "slide", "ecg", "picture"]
