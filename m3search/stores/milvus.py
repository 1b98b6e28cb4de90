"""Vectors in Milvus: a cluster that answers where one machine does not suffice, filled from the record of truth.

A collection holds vectors and what filters look at (`filters.milvus`), and nothing that a person wrote: what a hit is
called and says comes from the record. Scores are made anew from the vectors that Milvus returns, by the rule of all
stores, so that lists of several stores agree to the last bit and ties fall by id.

Spoken to through pymilvus: `milvus://HOST:PORT/NAME` is a server, `milvus-lite:FILE` a file of this machine.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from m3search.errors import EncoderMismatch, MissingExtra, StoreUnreachable, UsageError
from m3search.filters import COLUMNS
from m3search.filters.milvus import KEPT, KEY, field_of, literal, to_milvus
from m3search.stores import schema
from m3search.stores.base import MARGIN, Capabilities, Neighbours, check_queries, rank

if TYPE_CHECKING:
    import pyarrow as pa

    from m3search.filters import Filter
    from m3search.types import Float32

TOKEN = "M3SEARCH_MILVUS_TOKEN"  # "user:password" or an API key, from the environment alone
LITE = "milvus-lite:"
LARGEST_K = 16384  # of one search, by Milvus (docs: limits)
ROWS = 1000  # in a message: 64 MB is the limit, and 512 float32 with their columns are 3 kB
IDS = 1000  # in an expression
SPARE = 32  # neighbours asked for beyond k, among which ties are settled
LONGEST = 1024  # bytes of a text in a field; the columns hold codes, keys and names of findings
LABELS = 256  # of an item
LISTS_FROM = 50_000  # items; below, every vector is compared
# Lists, not a graph: of one built on images, texts find .9 however long they search (benchmarks/RESULTS.md).
LISTS, PROBED = 4, 16  # lists are LISTS * sqrt(N), to a power of two; a PROBED-th of them is looked into at first
MOST_LISTS = 65_536  # that Milvus takes
FEW = 0.1  # share of matches below which a filter has every list looked into: only what matches is scored
FURTHER = 2  # times the lists, where a look into so many may find something better


@dataclass(frozen=True, slots=True)
class Address:
    """Where a collection is."""

    server: str  # as pymilvus takes it: a URL, or a file
    name: str  # of the collection, or an alias of it

    @classmethod
    def of(cls, address: str) -> Address:
        """From "milvus://host:19530/name", "milvus+tls://…" or "milvus-lite:folder/file.db".

        Raises:
            UsageError: neither.
        """
        if address.startswith(LITE) and len(address) > len(LITE):
            return cls(address.removeprefix(LITE), "m3search")
        parts = urlsplit(address)
        name = parts.path.strip("/")
        if parts.scheme not in ("milvus", "milvus+tls") or not parts.hostname or not name.isidentifier():
            raise UsageError(
                f"{_without_secrets(address)!r} is no store; write milvus://HOST:PORT/NAME or {LITE}FILE, "
                f"where NAME has letters, digits and _"
            )
        if parts.password or parts.username:
            raise UsageError(f"leave the password out of the address and put it in ${TOKEN}")
        scheme = "https" if parts.scheme.endswith("tls") else "http"
        return cls(f"{scheme}://{parts.hostname}:{parts.port or 19530}", name)

    @property
    def lite(self) -> bool:
        """Whether it is a file of this machine."""
        return "://" not in self.server


class MilvusStore:
    """One collection. Reads what was written before, whoever wrote it: consistency level "Strong"."""

    def __init__(self, address: Address, dim: int, client: Any = None) -> None:
        """
        Args:
            dim: length of the vectors.
            client: a connection to share; None makes one.

        Raises:
            MissingExtra: pymilvus is not installed.
            StoreUnreachable: nothing answers there.
        """
        self.address = address
        self.dim = dim
        self.client = client if client is not None else connect(address)
        self.capabilities = Capabilities(
            exact=False, half=_half(address, self.client), columns=KEPT, substrings=False, largest_k=LARGEST_K - SPARE
        )

    @classmethod
    def at(cls, address: str, dim: int) -> MilvusStore:
        """The store at "milvus://host:port/name": see `stores.open_remote`."""
        return cls(Address.of(address), dim)

    @property
    def name(self) -> str:
        """See `RemoteStore`."""
        return self.address.name

    # VectorStore ------------------------------------------------------------------------------------------------------
    def ensure(self) -> None:
        """See `VectorStore`."""
        with reaching(self.address):
            if self.client.has_collection(self.name):
                self._check()
            else:
                self._create()
            self.client.load_collection(self.name)

    def upsert(self, rows: pa.Table) -> None:
        """See `VectorStore`."""
        rows = schema.last_of_each(schema.conform(rows, schema.items(self.dim)), KEY)
        vectors = schema.half(rows["vector"])
        fields = [[field_of(column, value) for value in rows[column].to_pylist()] for column in KEPT]
        with reaching(self.address):
            for start in range(0, rows.num_rows, ROWS):
                part = slice(start, start + ROWS)
                values = vectors[part] if self.capabilities.half else vectors[part].astype(np.float32)
                some = zip(values, *(field[part] for field in fields), strict=True)
                self.client.upsert(
                    self.name, [dict(zip(("vector", *KEPT), row, strict=True)) for row in some]
                )  # fmt: skip

    def delete(self, item_ids: Sequence[str]) -> int:
        """See `VectorStore`. By expression: a client that is given ids quotes them wrongly."""
        removed = 0
        with reaching(self.address):
            for some in _chunks(item_ids):
                condition = f"{KEY} in [{', '.join(map(literal, some))}]"
                if found := self._count(condition):
                    self.client.delete(self.name, filter=condition)
                    removed += found
        return removed

    def search(self, queries: Float32, k: int, where: Filter | None = None) -> list[Neighbours]:
        """See `VectorStore`."""
        queries = check_queries(queries, k, self.dim)
        if k > LARGEST_K - SPARE:
            raise UsageError(f"Milvus returns at most {LARGEST_K - SPARE} neighbours, not {k}; ask for fewer with -k")
        with reaching(self.address):
            return self._settled(queries, k, "" if where is None else to_milvus(where))

    def count(self, where: Filter | None = None) -> int:
        """See `VectorStore`."""
        with reaching(self.address):
            return self._count("" if where is None else to_milvus(where))

    def publish(self) -> None:
        """See `VectorStore`. Seals what was written; from LISTS_FROM items on, lists replace comparing all."""
        with reaching(self.address):
            self.client.flush(self.name)
            count = self._count("")
            if count >= LISTS_FROM and self._lists() is None:
                self.client.release_collection(self.name)
                self.client.drop_index(self.name, "vector")
                self._index("IVF_FLAT", {"nlist": lists_for(count)})
                self.client.load_collection(self.name)

    # RemoteStore ------------------------------------------------------------------------------------------------------
    def named(self, name: str) -> MilvusStore:
        """See `RemoteStore`."""
        return MilvusStore(replace(self.address, name=name), self.dim, self.client)

    def collections(self) -> list[str]:
        """See `RemoteStore`."""
        with reaching(self.address):
            return sorted(self.client.list_collections())

    def behind(self) -> str | None:
        """See `RemoteStore`."""
        with reaching(self.address):
            if not self.client.has_collection(self.name):
                return None
            return str(self.client.describe_collection(self.name)["collection_name"])

    def point_to(self, name: str) -> None:
        """See `RemoteStore`."""
        if self.name in self.collections():
            raise UsageError(
                f"{self.name} at {self.address.server} is a collection that m3search did not publish; use another name"
            )
        with reaching(self.address):
            switch = self.client.create_alias if self.behind() is None else self.client.alter_alias
            switch(collection_name=name, alias=self.name)

    def drop(self) -> None:
        """See `RemoteStore`."""
        with reaching(self.address):
            self.client.drop_collection(self.name)

    # ------------------------------------------------------------------------------------------------------------------
    def _settled(self, queries: Float32, k: int, condition: str) -> list[Neighbours]:
        """Looks into ever more lists until that changes nothing.

        What a filter lets through may lie apart from the query: images of another kind, say. The nearest lists then
        hold none of it, or a few that are not the best.
        """
        if (lists := self._lists()) is None:
            return self._nearest(queries, k, condition)
        there = self._count("")
        matching = self._count(condition) if condition else there
        full = min(k, matching)
        probed = lists if matching < FEW * there else min(round(lists / PROBED * there / max(matching, 1)), lists)
        found = self._nearest(queries, k, condition, probed, probed == lists)
        left = [number for number, one in enumerate(found) if condition or len(one) < full]
        while left and probed < lists:
            probed = min(FURTHER * probed, lists)
            further = self._nearest(queries[left], k, condition, probed, probed == lists)
            changed = []
            for number, one in zip(left, further, strict=True):
                if one.ids != found[number].ids or len(one) < full:
                    changed.append(number)
                found[number] = one
            left = changed
        return found

    def _nearest(
        self, queries: Float32, k: int, condition: str, probed: int | None = None, exact: bool = True
    ) -> list[Neighbours]:
        """Of so many lists. Asks for more until the last one found is clearly worse than the k-th, so that no tie is
        cut in two.
        """
        wanted = k + SPARE
        found: dict[int, Neighbours] = {}
        while left := [number for number in range(len(queries)) if number not in found]:
            for number, page in zip(left, self._pages(queries[left], wanted, condition, probed), strict=True):
                query = queries[number]
                vectors = np.array([self._vector(hit["entity"]["vector"]) for hit in page], np.float32)
                vectors = vectors.reshape(-1, self.dim)
                scores = np.sort(vectors @ query)[::-1]
                if len(page) < wanted or scores[-1] < scores[k - 1] - MARGIN or wanted == LARGEST_K:
                    found[number] = rank(query, vectors, [hit[KEY] for hit in page], k, exact)
            wanted = min(4 * wanted, LARGEST_K)
        return [found[number] for number in range(len(queries))]

    def _pages(
        self, queries: Float32, wanted: int, condition: str, probed: int | None
    ) -> Iterator[list[dict[str, Any]]]:
        """Of each query its nearest rows, in messages that their vectors fit into."""
        together = max(1, ROWS * 20 // wanted)
        asked = queries.astype(np.float16) if self.capabilities.half else queries
        for start in range(0, len(asked), together):
            yield from self.client.search(
                self.name, list(asked[start : start + together]), filter=condition, limit=wanted,
                output_fields=[KEY, "vector"],
                search_params={"metric_type": "IP", "params": {} if probed is None else {"nprobe": probed}},
            )  # fmt: skip

    def _vector(self, value: Any) -> Float32:
        """As float32, in whatever way the client returns it."""
        if isinstance(value, list) and value and isinstance(value[0], bytes):
            value = value[0]
        kind = np.float16 if isinstance(value, bytes) else np.float32
        found = np.frombuffer(value, kind) if isinstance(value, bytes) else np.asarray(value)
        return found.astype(np.float32)

    def _count(self, condition: str) -> int:
        (row,) = self.client.query(
            self.name, filter=condition, output_fields=["count(*)"], consistency_level="Strong"
        )  # fmt: skip
        return int(row["count(*)"])

    def _lists(self) -> int | None:
        """How many there are. Asked each time: another process may publish, or point the alias elsewhere."""
        index = self.client.describe_index(self.name, "vector")
        if index.get("index_type") != "IVF_FLAT":
            return None
        return int(index["nlist"]) if "nlist" in index else lists_for(self._count(""))  # a file does not tell

    def _index(self, kind: str, options: dict[str, int]) -> None:
        params = self.client.prepare_index_params()
        params.add_index("vector", index_type=kind, metric_type="IP", params=options)
        self.client.create_index(self.name, params)

    def _create(self) -> None:
        from pymilvus import DataType

        fields = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
        kind = DataType.FLOAT16_VECTOR if self.capabilities.half else DataType.FLOAT_VECTOR
        fields.add_field("vector", kind, dim=self.dim)
        for column in KEPT:
            match COLUMNS[column]:
                case "labels":
                    fields.add_field(
                        column, DataType.ARRAY, element_type=DataType.VARCHAR, max_length=LONGEST, max_capacity=LABELS
                    )
                case "integer" | "time":
                    fields.add_field(column, DataType.INT64)
                case _:
                    fields.add_field(column, DataType.VARCHAR, max_length=LONGEST, is_primary=column == KEY)
        self.client.create_collection(self.name, schema=fields, consistency_level="Strong")
        self._index("FLAT", {})

    def _check(self) -> None:
        fields = {field["name"]: field for field in self.client.describe_collection(self.name)["fields"]}
        there = int(fields.get("vector", {}).get("params", {}).get("dim", 0))
        if there != self.dim or set(KEPT) - set(fields):
            raise EncoderMismatch(
                f"collection {self.name} at {self.address.server} holds "
                f"{f'vectors of {there} dimensions, not {self.dim}' if there else 'something else'}; "
                f"publish under another name"
            )


def lists_for(count: int) -> int:
    """How many lists so many items are sorted into."""
    return min(int(2 ** round(np.log2(LISTS * count**0.5))), MOST_LISTS)


def connect(address: Address) -> Any:
    """A client of the server, or of the file.

    Raises:
        MissingExtra: pymilvus is not installed, or for a file milvus-lite.
        StoreUnreachable: nothing answers there.
    """
    try:
        from pymilvus import MilvusClient

        if address.lite:
            import milvus_lite  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"{error.name} is needed for Milvus: pip install 'm3search[cluster]'") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)  # it logs what it asked: filters hold keys of persons
    with reaching(address):
        return MilvusClient(address.server, token=os.environ.get(TOKEN, ""))


def _half(address: Address, client: Any) -> bool:
    """Whether the server keeps vectors in half precision: from 2.4 on, and not in a file."""
    if address.lite:
        return False
    with reaching(address):
        found = re.match(r"v?(\d+)\.(\d+)", str(client.get_server_version()))
    return found is not None and (int(found[1]), int(found[2])) >= (2, 4)


@contextmanager
def reaching(address: Address) -> Iterator[None]:
    """Errors of the connection and the server as ours, which name the place.

    Raises:
        StoreUnreachable: whatever pymilvus or grpc raised.
    """
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        reason = " ".join(str(error.message).split())[:200]
        raise StoreUnreachable(f"Milvus at {address.server} cannot be reached, or refuses: {reason}") from error


def _without_secrets(address: str) -> str:
    return address.rpartition("@")[2]


def _chunks(item_ids: Sequence[str]) -> Iterator[list[str]]:
    unique = list(dict.fromkeys(item_ids))
    for start in range(0, len(unique), IDS):
        yield unique[start : start + IDS]
