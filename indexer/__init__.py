"""Reading archives into an index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from m3search.indexer.pipeline import Options, Progress, Report, Run

__all__ = ["Options", "Progress", "Report", "index"]


def index(
    archive: Path | str,
    index: Path | str | None = None,
    *,
    model: Path | str | None = None,
    options: Options | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Index an archive: a folder, or a manifest (.csv). Whatever is stored already is not read again.

    Args:
        index: the index folder; see `m3search.stores.folder.locate` for the default. Made where it does not exist.
        model: the encoder, by name or folder; for an existing index the one it was built with is the default.
        options: modality of undescribed files, workers, pruning.

    Raises:
        UsageError: there is no such archive.
        EncoderMismatch: the index was built with another encoder.
        IndexLocked: another run is writing it.
    """
    from m3search.encoders import DEFAULT_ENCODER, load_encoder
    from m3search.errors import IndexNotFound
    from m3search.indexer.archives import open_archive
    from m3search.stores.folder import IndexFolder, Manifest, locate

    place = open_archive(Path(archive))
    path = locate(index)
    try:
        folder = IndexFolder.open(path)
    except IndexNotFound:
        encoder = load_encoder(name := model or DEFAULT_ENCODER)
        known_as = str(Path(name).resolve()) if Path(name).is_dir() else str(name)
        folder = IndexFolder.create(path, Manifest(encoder=known_as, fingerprint=encoder.fingerprint, dim=encoder.dim))
    else:
        encoder = load_encoder(model or folder.manifest.encoder)
        folder.check_encoder(encoder.name, encoder.fingerprint)
    return Run(folder, encoder, place, options or Options()).run(progress)
