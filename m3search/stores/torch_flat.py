"""Every vector compared, by torch on a GPU: exact answers at the speed of its memory.

A search reads each vector once, so its floor is their bytes over the memory's bandwidth: 1M x 256 in half precision are
0.5 GB. What does not fit into the memory is streamed through it in tiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import MissingExtra

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.stores.chosen import Chosen
    from m3search.types import Float32

    Rows = npt.NDArray[np.int64]

TILE = 1 << 20  # vectors compared at a time
BLOCK = 256  # scores of which the best is looked at first: a selection from all of them took four times as long
SHARE = 0.7  # of the free memory that vectors may take for good
SCORES = 1 << 30  # bytes of scores held at a time: a batch of many queries is answered in pieces


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtra('torch is not installed: pip install "m3search[gpu]"') from error
    return torch


class TorchFlat:
    """Vectors by row number, as `faiss.FlatIndex`."""

    @property
    def kind(self) -> str:
        """Said by `m3search status`."""
        return f"torch on {self._device}"

    def __init__(self, vectors: npt.NDArray[np.float16], device: str = "cuda", tile: int = TILE) -> None:
        """
        Args:
            vectors: (N, D).
            device: a torch device; on "cpu", where half precision is slow, tiles are widened first.

        Raises:
            MissingExtra: torch is not installed, or it finds no such device.
        """
        torch = _torch()
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise MissingExtra("torch finds no GPU here: leave the device out to search on the CPU")
        self._device = torch.device(device)
        self._vectors = vectors
        self._tile = tile
        fits = self._device.type == "cpu" or vectors.nbytes <= SHARE * torch.cuda.mem_get_info(self._device)[0]
        self._held = [self._put(start) for start in self._starts] if fits else None

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, queries: Float32, k: int, allowed: Chosen | None = None) -> tuple[Float32, Rows]:
        """Scores and rows (Q, k) of the nearest vectors, best first.

        Args:
            queries: float32 (Q, D).
            k: at most len(self), and at most as many as are allowed.
            allowed: only these rows.
        """
        torch = _torch()
        asked = torch.from_numpy(np.ascontiguousarray(queries, dtype=np.float32)).to(self._device)
        at_once = max(1, SCORES // (3 * 4 * min(self._tile, max(1, len(self)))))  # twice in halves, once as their sum
        pieces = torch.split(asked, at_once)
        best = [(piece.new_zeros(len(piece), 0), torch.zeros_like(piece[:, :0], dtype=torch.int64)) for piece in pieces]
        for place, start in enumerate(self._starts):
            tile = self._held[place] if self._held is not None else self._put(start)
            kept = None
            if allowed is not None:
                kept = torch.from_numpy(allowed.mask[start : start + len(tile)]).to(self._device)
            for number, piece in enumerate(pieces):
                best[number] = self._better(*best[number], piece, tile, start, k, kept)
        scores, rows = (torch.cat(column).cpu().numpy() for column in zip(*best, strict=True))
        return scores, rows

    def _better(self, best: Any, rows: Any, asked: Any, tile: Any, start: int, k: int, kept: Any) -> tuple[Any, Any]:
        """The best so far (Q, k) and their rows, with those of a tile whose first row is `start`."""
        torch = _torch()
        scores = self._scores(asked, tile)
        if kept is not None:
            scores = scores.masked_fill(~kept, -torch.inf)
        values, places = self._top(scores, min(k, len(tile)))
        best, rows = torch.cat([best, values], dim=1), torch.cat([rows, places + start], dim=1)
        best, order = best.sort(dim=1, descending=True, stable=True)
        return best[:, :k], rows.gather(1, order)[:, :k]

    def _top(self, scores: Any, k: int) -> tuple[Any, Any]:
        """The k best of scores (Q, T) and their places: they lie in the k blocks with the best maxima."""
        torch = _torch()
        queries, count = scores.shape
        if count <= k * BLOCK:
            return tuple(scores.topk(k, dim=1))
        if spare := -count % BLOCK:
            scores = torch.nn.functional.pad(scores, (0, spare), value=-torch.inf)
        blocks = scores.view(queries, -1, BLOCK)
        chosen = blocks.amax(2).topk(k, dim=1).indices
        inside = blocks.gather(1, chosen[:, :, None].expand(-1, -1, BLOCK)).flatten(1)
        values, places = inside.topk(k, dim=1)
        return values, chosen.gather(1, places // BLOCK) * BLOCK + places % BLOCK

    @property
    def _starts(self) -> range:
        return range(0, len(self._vectors), self._tile)

    def _put(self, start: int) -> Any:
        torch = _torch()
        tile = torch.from_numpy(np.array(self._vectors[start : start + self._tile])).to(self._device)
        return tile.float() if self._device.type == "cpu" else tile

    def _scores(self, asked: Any, tile: Any) -> Any:
        """(Q, T) in single precision. A query is the sum of two of half precision, which lose nothing that matters."""
        torch = _torch()
        if tile.dtype == torch.float32:
            return asked @ tile.T
        most = asked.half()
        both = torch.cat([most, (asked - most.float()).half()])
        scores = torch.mm(both, tile.T, out_dtype=torch.float32)  # tensor cores sum in single precision
        return scores[: len(asked)] + scores[len(asked) :]
