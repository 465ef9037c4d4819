"""Figures for Prometheus, in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one server. ``queue_length`` is asked when the figures are."""

    def __init__(self, queue_length: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "brainmtl_requests",
            "Requests by endpoint and HTTP status",
            ("endpoint", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "brainmtl_request_seconds",
            "Duration of requests",
            ("endpoint",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.abstentions = Counter(
            "brainmtl_abstentions",
            "Images and volumes of which nothing was said",
            registry=self.registry,
        )
        self.ready = Gauge(
            "brainmtl_ready", "1 when a model is loaded and warmed up", registry=self.registry
        )
        self.model = Gauge(
            "brainmtl_model_info",
            "1 for the model that is loaded",
            ("name", "version", "weights_sha256", "preprocessing_version", "synthetic_training"),
            registry=self.registry,
        )
        queue = Gauge(
            "brainmtl_queue_length",
            "Requests that are uploading, waiting or being computed",
            registry=self.registry,
        )
        queue.set_function(queue_length)

    def observe(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(endpoint, str(status)).inc()
        self.seconds.labels(endpoint).observe(seconds)

    def text(self) -> bytes:
        """The exposition format of Prometheus."""
        return generate_latest(self.registry)
