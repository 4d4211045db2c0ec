"""Every look at a case, slide, image, report or export leaves one event, by whatever way (S7)."""

import pytest
from django.urls import reverse

from leukoweb.audit.models import Event
from tests.test_permissions import arguments, cast, routes  # noqa: F401 - `cast` is a fixture

LOOKS = [
    "case_detail", "case_edit", "case_sign", "slide_detail", "workbench", "image_original",
    "report_detail", "report_pdf", "report_export",
    "api_case", "api_slide", "api_differential", "api_report", "api_report_pdf",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LOOKS)
def test_a_look_is_recorded_once_with_who_and_which_case(name, cast, sign_in, pathologist):  # noqa: F811
    route = next(route for known, route, _ in routes() if known == name)
    client = sign_in(pathologist)
    before = Event.objects.count()
    assert client.get(reverse(name, kwargs=arguments(route, cast))).status_code == 200
    looks = Event.objects.order_by("id")[before:]
    assert [(event.actor, event.case_id) for event in looks] == [(pathologist, cast.case.pk)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["case_detail", "report_pdf", "api_case"])
def test_a_look_that_was_refused_reads_nothing_and_records_nothing(name, cast, sign_in, outsider):  # noqa: F811
    route = next(route for known, route, _ in routes() if known == name)
    before = Event.objects.filter(action__endswith=".read").count()
    assert sign_in(outsider).get(reverse(name, kwargs=arguments(route, cast))).status_code == 404
    assert Event.objects.filter(action__endswith=".read").count() == before
