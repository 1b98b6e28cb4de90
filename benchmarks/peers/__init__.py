"""Engines that are measured beside each other, by name. Listing them imports none.

An adapter has two verbs: `fit` writes an index into a folder, `query` asks one that was opened from there. What else
one says of itself (which packages, which ways to build, which settings to sweep) stands in `base.Peer`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import cast

from benchmarks.peers.base import Peer

PEERS = {
    "m3search": "benchmarks.peers.own:M3Search",
    "faiss": "benchmarks.peers.faiss:Faiss",
    "lancedb": "benchmarks.peers.lancedb:LanceDB",
    "usearch": "benchmarks.peers.usearch:USearch",
    "hnswlib": "benchmarks.peers.hnswlib:Hnswlib",
    "qdrant": "benchmarks.peers.qdrant:Qdrant",
    "milvus": "benchmarks.peers.milvus:Milvus",
    "chroma": "benchmarks.peers.chroma:Chroma",
}


def load_peer(name: str) -> type[Peer]:
    """The adapter; its package is not imported yet.

    Raises:
        KeyError: no such peer.
    """
    module, _, attribute = PEERS[name].partition(":")
    return cast("type[Peer]", getattr(import_module(module), attribute))


def why_absent(peer: type[Peer]) -> str | None:
    """Why a peer cannot run here, and the remedy; None where it can."""
    missing = [package for package in peer.packages if find_spec(package.partition(".")[0]) is None]
    if not missing:
        return None
    return f'not installed: {", ".join(missing)}; pip install -c .ci/constraints.txt -e ".[cpu,bench]"'


__all__ = ["PEERS", "Peer", "load_peer", "why_absent"]
