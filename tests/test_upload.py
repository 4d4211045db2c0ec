"""The upload page: who may, what it says, with and without script; files end as one queued slide."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.utils import timezone

from leukoweb.analysis.models import Run
from leukoweb.audit.models import Event
from leukoweb.cases.models import Slide
from tests.pictures import picture


@pytest.fixture
def address(make_case):
    return f"/cases/{make_case('U-1').pk}/slides/new/"


@pytest.mark.slow
def test_the_form_without_script_uploads_several_files_as_one_queued_slide(sign_in, technologist, address):
    client = sign_in(technologist)
    assert "Drop files here" in client.get(address).content.decode()
    fields = {"images": [picture("a.png"), picture("b.jpg", (1, 2, 3))], "label": "feathered edge", "um_per_px": "0.2"}
    answer = client.post(address, fields)
    slide = Slide.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"/slides/{slide.pk}/"
    assert (slide.label, slide.uploaded_by) == ("feathered edge", technologist)
    assert [image.um_per_px for image in slide.images.all()] == [0.2, 0.2]
    assert slide.runs.get().state == Run.State.QUEUED
    event = Event.objects.get(action="slide.submit")
    assert sorted(event.changes["images"]) == sorted(image.sha256 for image in slide.images.all())


@pytest.mark.slow
def test_stat_slides_go_before_routine_ones(sign_in, technologist, make_case):
    client = sign_in(technologist)
    for number, priority in (("U-2", "routine"), ("U-3", "stat")):
        client.post(f"/cases/{make_case(number, priority=priority).pk}/slides/new/", {"images": [picture()]})
    assert list(Run.objects.order_by("pk").values_list("is_stat", flat=True)) == [False, True]


def test_a_refused_file_is_named_beside_the_slide_that_was_made(sign_in, technologist, address):
    files = [picture("good.png"), picture("<b>same.png")]
    page = sign_in(technologist).post(address, {"images": files})
    assert page.status_code == 200
    text = page.content.decode()
    assert "1 of 2 images stored" in text
    assert "(file 2)" in text
    assert "&lt;b&gt;same.png" in text
    assert Slide.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "No file came"),
        ({"um_per_px": "7", "images": "picture"}, "between 0.02 and 1"),
        ({"uploads": "no key at all", "images": "picture"}, ""),
        ({"uploads": "7f9c24e8-3b0f-4a31-8f2a-2d5f6c0b7a11"}, "not come whole"),
    ],
)
def test_a_form_that_cannot_be_taken_says_why_and_stores_nothing(sign_in, technologist, address, fields, words):
    if "images" in fields:
        fields = fields | {"images": [picture()]}
    client = sign_in(technologist)
    assert words in (page := client.post(address, fields)).content.decode()
    assert page.status_code == 400
    if "images" in fields:
        fields = fields | {"images": [picture()]}
    assert client.post(address, fields, HTTP_ACCEPT="application/json").json()["slide"] is None
    assert not Slide.objects.exists()


def test_a_signed_and_a_rejected_case_take_no_images(sign_in, technologist, make_case):
    case = make_case("U-4", rejected_at=timezone.now(), rejected_by=technologist, rejection_reason="clotted")
    client = sign_in(technologist)
    address = f"/cases/{case.pk}/slides/new/"
    assert "was rejected" in client.get(address).content.decode()
    answer = client.post(address, {"images": [picture()]}, HTTP_ACCEPT="application/json")
    assert "was rejected" in answer.json()["problem"]
    assert not Slide.objects.exists()


def test_others_do_not_upload_here(client, sign_in, address, outsider, admin):
    assert client.get(address).status_code == 302
    for person, status in ((outsider, 404), (admin, 403)):
        assert sign_in(person).get(address).status_code == status
        assert sign_in(person).post(address, {"images": [picture()]}).status_code == status
    assert sign_in(outsider).delete(address).status_code == 405
    assert not Slide.objects.exists()


@pytest.mark.slow
def test_230_files_become_230_images_by_the_form_without_script(sign_in, technologist, address):
    files = [picture(f"{n}.png", (n % 256, n // 256, 77), (40, 40)) for n in range(230)]
    page = sign_in(technologist).post(address, {"images": files}, follow=True)
    assert "230 of 230 images stored" in page.content.decode()
    assert [image.name for image in Slide.objects.get().images.all()] == [f"{n}.png" for n in range(230)]


def test_more_files_than_a_slide_takes_are_each_named_and_none_vanishes(sign_in, technologist, address, settings):
    settings.MOST_IMAGES = 3
    files = [picture(f"{n}.png", (n, 2, 3)) for n in range(5)]
    answer = sign_in(technologist).post(address, {"images": files}, HTTP_ACCEPT="application/json").json()
    assert answer["stored"] == 3
    assert [(one["name"], one["position"]) for one in answer["errors"]] == [("3.png", 3), ("4.png", 4)]
    assert "at most 3 images" in answer["errors"][0]["error"]


def test_of_two_files_of_one_name_the_answer_says_which_one_is_bad(sign_in, technologist, address):
    bad = SimpleUploadedFile("field.png", b"no picture at all")
    files = [picture("field.png"), bad, picture("field.png", (1, 2, 3))]
    answer = sign_in(technologist).post(address, {"images": files}, HTTP_ACCEPT="application/json").json()
    assert answer["stored"] == 2
    assert [(one["name"], one["position"]) for one in answer["errors"]] == [("field.png", 1)]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_double_click_makes_one_slide(technologist, make_case):
    case = make_case("U-9")

    def click(_):
        client = Client()
        client.force_login(technologist)
        answer = client.post(
            f"/cases/{case.pk}/slides/new/", {"images": [picture()]}, HTTP_ACCEPT="application/json"
        ).json()
        connection.close()
        return answer

    with ThreadPoolExecutor(4) as people:
        answers = list(people.map(click, range(4)))
    assert Slide.objects.count() == 1
    assert sum(answer["slide"] is not None for answer in answers) == 1
    assert sum("already in this case" in str(answer["errors"]) for answer in answers) == 3
