"""The atlas: admins of a laboratory fill it, its readers see it on the page and beside the cell in doubt."""

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from PIL import Image

from leukoweb.audit.models import Event
from leukoweb.review.models import AtlasPicture


def _picture(name="myo.png"):
    file = io.BytesIO()
    Image.new("RGB", (900, 600), (120, 60, 140)).save(file, "PNG")
    return SimpleUploadedFile(name, file.getvalue())


def _add(client, **change):
    asked = {"picture": _picture(), "code": "MYO", "caption": "fine chromatin", "source": "own, 2026"} | change
    return client.post(reverse("atlas_list"), asked, follow=True)


@pytest.mark.slow
def test_an_admin_adds_a_picture_and_readers_see_it_beside_the_cell_in_doubt(sign_in, admin, technologist):
    assert "A picture of MYO was added." in _add(sign_in(admin)).content.decode()
    client = sign_in(technologist)
    assert "fine chromatin" in client.get(reverse("atlas_list")).content.decode()
    [address] = client.get(reverse("reference_cells", args=["MYO"])).json()["atlas"]
    answer = client.get(address)
    assert (answer["Content-Type"], answer["X-Content-Type-Options"]) == ("image/jpeg", "nosniff")
    assert Image.open(io.BytesIO(answer.content)).size == (360, 240)
    assert Event.objects.filter(action="atlas.add", actor=admin).exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"code": "WBC"}, "Choose the type"),
        ({"source": " "}, "Enter the source of the picture"),
        ({"picture": ""}, "Choose a picture of one cell"),
        ({"picture": SimpleUploadedFile("x.png", b"<svg onload=alert(1)>")}, "Nothing was added"),
    ],
)
def test_what_is_no_picture_or_has_no_source_is_refused_in_words(sign_in, admin, change, sentence):
    assert sentence in _add(sign_in(admin), **change).content.decode()
    assert not AtlasPicture.objects.exists()


def test_only_admins_fill_the_atlas(sign_in, pathologist):
    assert _add(sign_in(pathologist)).status_code == 403


@pytest.mark.slow
def test_a_picture_is_taken_out_and_the_log_says_so(sign_in, admin):
    _add(sign_in(admin))
    picture = AtlasPicture.objects.get()
    sign_in(admin).post(reverse("atlas_delete", args=[picture.pk]))
    assert not AtlasPicture.objects.exists()
    assert Event.objects.filter(action="atlas.delete", object_id=str(picture.pk)).exists()


@pytest.mark.slow
def test_the_atlas_of_another_laboratory_does_not_exist(sign_in, admin, outsider):
    _add(sign_in(admin))
    client = sign_in(outsider)
    assert client.get(reverse("atlas_picture", args=[AtlasPicture.objects.get().pk])).status_code == 404
    assert client.get(reverse("reference_cells", args=["MYO"])).json()["atlas"] == []
