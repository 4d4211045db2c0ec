"""A reader states a slide's scale: the slide is read again, and the former run is kept beside it."""

import pytest
from django.urls import reverse
from django.utils import timezone

from leukoweb.analysis.models import Cell, Run
from leukoweb.audit.models import Event
from leukoweb.review.cells.decisions import relabel_cell
from leukoweb.review.models import Report


@pytest.fixture
def read_slide(make_case, make_slide):
    return make_slide(make_case(), {"LYT": 3})


def state_scale(client, slide, um_per_px):
    return client.post(reverse("slide_scale", args=[slide.pk]), {"um_per_px": um_per_px}, follow=True)


def test_a_stated_scale_queues_a_new_run_and_keeps_the_former_one_uncounted(sign_in, technologist, read_slide):
    state_scale(sign_in(technologist), read_slide, "0,08")
    counted = Run.objects.get(slide=read_slide, is_shadow=False)
    assert counted.state == "queued"
    assert read_slide.images.get().um_per_px == 0.08
    assert Cell.objects.filter(run__slide=read_slide).count() == 3
    assert not Cell.objects.counted().filter(run__slide=read_slide).exists()
    assert Event.objects.filter(action="slide.reread").count() == 1


def test_stating_it_twice_queues_one_run(sign_in, technologist, read_slide):
    for _ in range(2):
        answer = state_scale(sign_in(technologist), read_slide, "0.08")
    assert Run.objects.filter(slide=read_slide).count() == 2
    assert "is not finished" in answer.content.decode()


@pytest.mark.parametrize("scale", ["", "zero", "-1", "0", "50", "nan"])
def test_a_scale_that_cannot_be_is_refused_in_words(sign_in, technologist, read_slide, scale):
    answer = state_scale(sign_in(technologist), read_slide, scale)
    assert "micrometres per pixel" in answer.content.decode()
    assert Run.objects.filter(slide=read_slide).count() == 1


def test_a_slide_with_labelled_cells_is_not_read_again(sign_in, technologist, read_slide):
    relabel_cell(Cell.objects.filter(run__slide=read_slide).first(), to="LYA", by=technologist)
    answer = state_scale(sign_in(technologist), read_slide, "0.08")
    assert "labelled already" in answer.content.decode()
    assert Run.objects.filter(slide=read_slide).count() == 1


def test_a_slide_with_labelled_cells_is_read_again_where_a_person_says_that_the_labels_stay_behind(
    sign_in, technologist, read_slide
):
    """H.32: the reading refused, told to upload the images anew, and the upload refused them as already here."""
    relabel_cell(Cell.objects.filter(run__slide=read_slide).first(), to="LYA", by=technologist)
    client, address = sign_in(technologist), f"/slides/{read_slide.pk}/"
    assert "no longer count the labels of 1 cell" in client.get(address).content.decode()
    client.post(f"{address}scale/", {"um_per_px": "0.08", "leave_labels": "on"})
    assert Run.objects.get(slide=read_slide, is_shadow=False).state == "queued"
    assert not Cell.objects.counted().filter(run__slide=read_slide).exists()
    assert Event.objects.get(action="slide.reread").changes["labels_left"] == 1


def test_a_program_reads_a_labelled_slide_again_only_where_it_says_that_the_labels_stay_behind(
    sign_in, technologist, read_slide
):
    relabel_cell(Cell.objects.filter(run__slide=read_slide).first(), to="LYA", by=technologist)
    client, address = sign_in(technologist), f"/api/v1/slides/{read_slide.pk}/scale/"
    refused = client.post(address, {"um_per_px": "0.08"}, content_type="application/json")
    assert (refused.status_code, list(refused.json()["fields"])) == (409, ["leave_labels"])
    again = client.post(address, {"um_per_px": "0.08", "leave_labels": True}, content_type="application/json")
    assert again.json()["state"] == "queued"


def test_a_slide_of_a_signed_case_is_not_read_again(sign_in, technologist, pathologist, read_slide):
    """S9: what was signed is changed by an amendment only, even where nobody had to label a cell."""
    now = timezone.now()
    Report.objects.create(
        case=read_slide.case, created_by=pathologist, signed_by=pathologist, signed_at=now, state="signed", content={}
    )
    answer = state_scale(sign_in(technologist), read_slide, "0.08")
    assert "is signed" in answer.content.decode()
    assert Run.objects.filter(slide=read_slide).count() == 1


def test_a_slide_whose_images_expired_is_not_read_again(sign_in, technologist, read_slide):
    read_slide.images.update(expired_at=timezone.now())
    answer = state_scale(sign_in(technologist), read_slide, "0.08")
    assert "have expired" in answer.content.decode()
    assert Run.objects.filter(slide=read_slide).count() == 1


def test_another_laboratory_cannot_state_it(sign_in, outsider, read_slide):
    assert state_scale(sign_in(outsider), read_slide, "0.08").status_code == 404
