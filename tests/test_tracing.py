"""Traces for OpenTelemetry: what they tell, and that they tell nothing of a patient."""

import pytest
from django.db import connection
from django.urls import reverse
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from leukoweb.analysis.tasks import sweep


@pytest.fixture
def spans(db):
    from leukoweb import tracing

    exporter = InMemorySpanExporter()
    provider = tracing.start("test", exporter)
    connection.close()  # a connection is traced from its beginning

    def sent():
        provider.force_flush()
        return exporter.get_finished_spans()

    sent.tracer = provider.get_tracer("test")
    yield sent
    tracing.stop(provider)
    connection.close()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_requests_tasks_and_queries_are_traced_without_anything_of_a_patient(make_case, technologist, sign_in, spans):
    case = make_case("SECRET-1")
    client = sign_in(technologist)
    client.get(reverse("case_detail", args=[case.pk]), {"name": "SECRET-2"})
    client.post(reverse("case_list"), {"search": "SECRET-3"})
    client.get(reverse("case_list"))
    client.get("/api/v1/cases/SECRET-1/")
    sweep.apply()
    found = spans()
    assert {"GET cases/<int:pk>/", "GET api/v1/cases/<accession:accession_number>/"} <= {span.name for span in found}
    [page] = [span for span in found if span.name == "GET cases/<int:pk>/"]
    assert page.attributes["http.status_code"] == 200
    assert len(page.attributes["leukoweb.request_id"]) == 32
    assert any(span.name == "run/leukoweb.analysis.tasks.sweep" for span in found)
    if connection.vendor == "postgresql":
        queries = [span.attributes["db.statement"] for span in found if span.name == "SELECT"]
        assert any('FROM "cases_case"' in query and "%s" in query for query in queries)
        assert page.context.span_id in {span.parent.span_id for span in found if span.name == "SELECT" and span.parent}
    told = "".join(span.to_json() for span in found)
    for secret in ("SECRET", case.patient.name, case.patient.mrn, technologist.username):
        assert secret not in told


@pytest.mark.slow
def test_an_error_is_traced_without_its_message(spans):
    with pytest.raises(ValueError, match="SECRET-5"), spans.tracer.start_as_current_span("sign"):
        raise ValueError("SECRET-5")
    [span] = [span for span in spans() if span.name == "sign"]
    assert not span.status.is_ok
    assert "SECRET" not in span.to_json()
