"""What a server counts, for Prometheus. No label holds an id, a query or an address."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Of one application; several may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "m3search_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "m3search_request_seconds", "From the first byte to the last.", ["route"], buckets=BUCKETS,
            registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge("m3search_requests_in_flight", "Being answered now.", registry=self.registry)
        self.cancelled = Counter(
            "m3search_requests_cancelled", "Given up because the client went.", registry=self.registry
        )
        self.items = Gauge("m3search_items", "In the index.", registry=self.registry)
        self.decoded = Counter(
            "m3search_decodings", "Calls of decoding processes.", ["outcome"], registry=self.registry
        )
        self.uploads = Gauge("m3search_uploads_kept", "Vectors of uploads in memory.", registry=self.registry)

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)
