"""A GET that once wrote: the lists and pages that made rows when they were opened (every address: test_permissions)."""

from django.urls import reverse

from leukoweb.analysis.models import DetectorVersion


def test_the_list_of_detectors_registers_and_activates_none(sign_in, admin, db):
    assert sign_in(admin).get(reverse("detector_list")).status_code == 200
    assert not DetectorVersion.objects.exists()


def test_the_step_that_prepares_an_installation_registers_the_shipped_detector(db):
    from django.core.management import call_command

    for _ in range(2):
        call_command("upgrade", verbosity=0)
    assert DetectorVersion.objects.get().is_active


def test_the_page_of_the_signature_makes_no_report_until_something_is_written(
    sign_in, pathologist, make_case, make_slide
):
    from leukoweb.review.models import Report

    case = make_case()
    make_slide(case, {"NGS": 3})
    page = reverse("case_sign", args=[case.pk])
    assert sign_in(pathologist).get(page).status_code == 200
    assert not Report.objects.exists()
    sign_in(pathologist).post(page, {"act": "keep", "comment": "Few cells."})
    assert Report.objects.get().comment == "Few cells."
