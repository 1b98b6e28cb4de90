"""Where vectors and their descriptions are kept.

LanceDB (`lance`) is the system of record; `segment` is a fast copy of it that can be rebuilt at any time, with a FAISS
index (`faiss`) where it is large; `milvus` is a copy of its vectors in a cluster, which `replica` fills and searches;
`memory` is the oracle of the tests; `folder` is the index folder that holds the record.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from m3search.errors import UsageError

if TYPE_CHECKING:
    from m3search.stores.base import RemoteStore

REMOTE = {  # by what an address begins with: stores that hold a copy of an index's vectors
    "milvus": "m3search.stores.milvus:MilvusStore",
    "milvus+tls": "m3search.stores.milvus:MilvusStore",
    "milvus-lite": "m3search.stores.milvus:MilvusStore",
}


def open_remote(address: str, dim: int) -> RemoteStore:
    """The store at an address such as "milvus://host:19530/name".

    Args:
        dim: length of its vectors.

    Raises:
        UsageError: no such kind of store.
        MissingExtra: its client is not installed.
        StoreUnreachable: nothing answers there.
    """
    kind = address.partition(":")[0]
    if kind not in REMOTE:
        raise UsageError(f"no store of kind {kind!r}; an address begins with {', '.join(f'{one}:' for one in REMOTE)}")
    module, _, name = REMOTE[kind].partition(":")
    store: RemoteStore = getattr(import_module(module), name).at(address, dim)
    return store
