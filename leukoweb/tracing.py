"""Traces for OpenTelemetry, where LEUKOWEB_TRACES_URL names a collector: requests, tasks and queries with their times.

Nothing of a patient leaves: of a span only the attributes of a list are sent, and neither messages nor tracebacks of
errors. Addresses are those of urls.py, with the names of their parts, and queries have no values.
"""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status

REQUEST_ID = "leukoweb.request_id"
SENT = {
    "http.method", "http.request.method", "http.route", "http.status_code", "http.response.status_code",
    "celery.action", "celery.state", "celery.task_name", "messaging.destination", "db.system", "db.system.name",
    "db.statement", "db.query.text", REQUEST_ID,
}  # fmt: skip
INSTRUMENTORS = (DjangoInstrumentor, CeleryInstrumentor, PsycopgInstrumentor)


class Plain(SpanExporter):
    """Hand spans on to another exporter without what may hold something of a patient."""

    def __init__(self, inner: SpanExporter) -> None:
        self.inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans."""
        return self.inner.export([_plain(span) for span in spans])

    def shutdown(self) -> None:
        """Send nothing more."""
        self.inner.shutdown()


def start(process: str, exporter: SpanExporter | None = None) -> TracerProvider:
    """Trace what this process does from now on; before the first request is answered."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"leukoweb-{process}", "service.version": settings.VERSION})
    )
    provider.add_span_processor(BatchSpanProcessor(Plain(exporter or OTLPSpanExporter(endpoint=settings.TRACES_URL))))
    for instrumentor in INSTRUMENTORS:
        hooks = {"response_hook": _name_request} if instrumentor is DjangoInstrumentor else {}
        instrumentor().instrument(tracer_provider=provider, **hooks)
    return provider


def stop(provider: TracerProvider) -> None:
    """Send what waits, and trace no more."""
    for instrumentor in INSTRUMENTORS:
        instrumentor().uninstrument()
    provider.shutdown()


def _name_request(span: Any, request: HttpRequest, response: HttpResponse) -> None:
    """Write the id under which the logs have the request."""
    span.set_attribute(REQUEST_ID, response.get("X-Request-ID", ""))


def _plain(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name, context=span.context, parent=span.parent, resource=span.resource, links=span.links,
        kind=span.kind, status=Status(span.status.status_code), start_time=span.start_time, end_time=span.end_time,
        attributes={name: value for name, value in (span.attributes or {}).items() if name in SENT},
        instrumentation_scope=span.instrumentation_scope,
    )  # fmt: skip
