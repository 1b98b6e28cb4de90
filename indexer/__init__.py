"""Reading archives into an index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from m3search.indexer.archives.pacs import Pacs
from m3search.indexer.options import Options, Progress, Report
from m3search.indexer.pipeline import Run
from m3search.indexer.runners.allowance import Allowance
from m3search.indexer.runners.cluster import Cluster

__all__ = ["Allowance", "Cluster", "Options", "Pacs", "Progress", "Report", "index", "retry_failures"]


def index(
    archive: Path | str,
    index: Path | str | None = None,
    *,
    model: Path | str | None = None,
    options: Options | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Index an archive. Whatever is stored already is not read again.

    Args:
        archive: a folder, a zip or tar file, a manifest (.csv), a DICOMweb server ("https://host/dicom-web"), or
            whatever else fsspec knows ("s3://bucket/prefix").
        index: the index folder; see `m3search.stores.folder.locate` for the default. Made where it does not exist.
        model: the encoder, by name or folder; for an existing index the one it was built with is the default.
        options: modality of undescribed files, workers, their limits, pruning, how a PACS is asked.

    Raises:
        UsageError: there is no such archive.
        ArchiveUnreachable: a server or storage is away, or refuses. What was stored stays, the next run continues.
        MissingExtra: what such an archive needs is not installed.
        EncoderMismatch: the index was built with another encoder.
        IndexLocked: another run is writing it.
        IndexUnwritable: its disk is full or read-only. What was stored stays, the next run continues.
        ClusterUnreachable: a Ray cluster is away, or gives no more answers. What was stored stays.
    """
    from m3search.encoders import DEFAULT_ENCODER, load_encoder
    from m3search.errors import IndexNotFound
    from m3search.indexer.archives import open_archive
    from m3search.stores.disk import writing
    from m3search.stores.folder import IndexFolder, Manifest, locate

    options = options or Options()
    place = open_archive(archive, options.pacs)
    path = locate(index)
    try:
        folder = IndexFolder.open(path)
    except IndexNotFound:
        encoder = load_encoder(name := model or DEFAULT_ENCODER)
        known_as = str(Path(name).resolve()) if Path(name).is_dir() else str(name)
        manifest = Manifest(encoder=known_as, fingerprint=encoder.fingerprint, dim=encoder.dim)
        with writing(path):
            folder = IndexFolder.create(path, manifest)
    else:
        encoder = load_encoder(model or folder.manifest.encoder)
        folder.check_encoder(encoder.name, encoder.fingerprint)
    with writing(path):
        return Run(folder, encoder, place, options).run(progress)


def retry_failures(
    index: Path | str | None = None,
    *,
    model: Path | str | None = None,
    options: Options | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[Report]:
    """Read again what failed, and nothing else: new, changed and vanished files are left to `index`.

    Args: as of `index`.

    Returns:
        A report for each archive of the index that has failures.

    Raises:
        IndexNotFound: there is no index.
        UsageError: an archive is no longer where it was.
        ArchiveUnreachable, MissingExtra, EncoderMismatch, IndexLocked, IndexUnwritable: as `index`.
    """
    from m3search.encoders import load_encoder
    from m3search.indexer.archives import open_archive
    from m3search.indexer.ledger import is_of
    from m3search.stores.disk import writing
    from m3search.stores.folder import IndexFolder, locate

    folder = IndexFolder.open(locate(index))
    uris = folder.record().failures().column("uri").to_pylist()
    roots = enumerate(folder.manifest.archives)
    failing = [root for place, root in roots if any(is_of(uri, f"@{place}/" if place else "") for uri in uris)]
    if not failing:
        return []
    encoder = load_encoder(model or folder.manifest.encoder)
    folder.check_encoder(encoder.name, encoder.fingerprint)
    chosen = replace(options or Options(), retry=True, prune=False)
    with writing(folder.path):
        return [Run(folder, encoder, open_archive(root, chosen.pacs), chosen).run(progress) for root in failing]
