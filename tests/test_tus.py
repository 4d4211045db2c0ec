"""Resumable uploads over tus 1.0: pieces, a broken line, offsets, limits, owners, expiry; pieces become a slide."""

import base64
import hashlib
import http.client
import os
import random
import uuid
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from leukoweb.analysis.tasks import sweep
from leukoweb.cases.models import PartialUpload, SlideImage
from leukoweb.cases.store import original_path
from tests.pictures import picture, picture_bytes

TUS = {"HTTP_TUS_RESUMABLE": "1.0.0"}


def create(client, length, name="field.bmp", **more):
    """Open an upload."""
    metadata = "filename " + base64.b64encode(name.encode()).decode()
    headers = {"HTTP_UPLOAD_LENGTH": str(length), "HTTP_UPLOAD_METADATA": metadata, **TUS, **more}
    return client.post("/uploads/", **headers)


def append(client, address, offset, piece, **more):
    """Send a piece."""
    return client.patch(
        address, piece, "application/offset+octet-stream", HTTP_UPLOAD_OFFSET=str(offset), **{**TUS, **more}
    )


def head(client, address):
    """Ask how much came."""
    return client.head(address, **TUS)


@pytest.fixture(autouse=True)
def _no_piece_is_left():
    yield
    for path in settings.FILE_UPLOAD_TEMP_DIR.glob("tus-*"):
        path.unlink()


@pytest.fixture
def client_of(sign_in, technologist):
    return sign_in(technologist)


def test_a_file_in_pieces_becomes_the_same_original(client_of, make_case):
    content = picture_bytes("BMP", size=(900, 700))
    made = create(client_of, len(content), "../Größe 1.bmp")
    assert made.status_code == 201
    address, offset = made["Location"], 0
    while offset < len(content):
        answer = append(client_of, address, offset, content[offset : offset + 500_000])
        assert answer.status_code == 204
        offset = int(answer["Upload-Offset"])
        assert head(client_of, address)["Upload-Offset"] == str(offset)
    key = address.rstrip("/").rsplit("/", 1)[-1]
    case = make_case("T-1")
    answer = client_of.post(
        f"/cases/{case.pk}/slides/new/", {"uploads": key, "label": "1"}, HTTP_ACCEPT="application/json"
    ).json()
    image = SlideImage.objects.get()
    assert answer == {"slide": f"/slides/{image.slide_id}/", "stored": 1, "errors": [], "problem": "", "fields": {}}
    assert (image.name, image.sha256) == ("Größe 1.bmp", hashlib.sha256(content).hexdigest())
    assert original_path(image.sha256).read_bytes() == content
    assert not PartialUpload.objects.exists()
    assert not list(settings.FILE_UPLOAD_TEMP_DIR.glob("*"))


@pytest.mark.slow
def test_several_uploads_and_a_form_file_become_one_slide_and_an_unfinished_one_is_named(client_of, make_case):
    keys = []
    for n in range(3):
        content = picture_bytes("PNG", color=(n, 9, 9))
        address = create(client_of, len(content), f"{n}.png")["Location"]
        append(client_of, address, 0, content if n else content[:-5])
        keys.append(address.rstrip("/").rsplit("/", 1)[-1])
    address = f"/cases/{make_case('T-2').pk}/slides/new/"
    fields = {"uploads": " ".join(keys), "images": [picture("form.png")]}
    answer = client_of.post(address, fields, HTTP_ACCEPT="application/json").json()
    assert answer["slide"]
    assert [(e["name"], "not come whole" in e["error"]) for e in answer["errors"]] == [("0.png", True)]
    assert sorted(SlideImage.objects.values_list("name", flat=True)) == ["1.png", "2.png", "form.png"]


def test_what_the_server_offers(client_of):
    answer = client_of.options("/uploads/")
    assert answer.status_code == 204
    assert answer["Tus-Version"] == "1.0.0"
    assert answer["Tus-Extension"] == "creation,expiration,termination"
    assert answer["Tus-Max-Size"] == str(settings.MAX_UPLOAD_BYTES)


def test_a_piece_at_the_wrong_place_of_the_wrong_kind_or_too_long_changes_nothing(client_of):
    address = create(client_of, 10)["Location"]
    assert append(client_of, address, 0, b"12345").status_code == 204
    assert append(client_of, address, 0, b"12345").status_code == 409
    assert append(client_of, address, 6, b"7").status_code == 409
    assert append(client_of, address, "x", b"7").status_code == 400
    assert append(client_of, address, 5, b"678901").status_code == 413
    wrong_kind = client_of.patch(address, b"6", "text/plain", HTTP_UPLOAD_OFFSET="5", **TUS)
    assert wrong_kind.status_code == 415
    assert append(client_of, address, 5, b"6", HTTP_TUS_RESUMABLE="0.2.2").status_code == 412
    assert head(client_of, address)["Upload-Offset"] == "5"
    assert client_of.get(address).status_code == 405
    assert append(client_of, address, 5, b"67890").status_code == 204


def test_files_that_cannot_be_checked_in_one_request_are_checked_in_several(client_of, make_case, settings):
    keys = []
    for n in range(3):
        content = picture_bytes("PNG", color=(n, 9, 9)) if n else b"no picture"
        address = create(client_of, len(content), f"{n}.png")["Location"]
        append(client_of, address, 0, content)
        keys.append(address.rstrip("/").rsplit("/", 1)[-1])
    page, fields = f"/cases/{make_case('T-7').pk}/slides/new/", {"uploads": " ".join(keys)}
    settings.CHECK_PART_S = 0
    answer = client_of.post(page, fields, HTTP_ACCEPT="application/json")
    assert (answer.status_code, answer.json()) == (202, {"checked": 0, "of": 3})
    settings.CHECK_PART_S = 30
    answer = client_of.post(page, fields, HTTP_ACCEPT="application/json").json()
    assert answer["stored"] == 2
    assert [(one["name"], one["position"]) for one in answer["errors"]] == [("0.png", 0)]
    assert not PartialUpload.objects.exists()


@pytest.mark.slow
def test_118_uploads_become_118_images(client_of, make_case):
    keys = []
    for n in range(118):
        content = picture_bytes("BMP", color=(n, 9, 9), size=(40, 40))
        address = create(client_of, len(content), f"{n}.bmp")["Location"]
        assert append(client_of, address, 0, content).status_code == 204
        keys.append(address.rstrip("/").rsplit("/", 1)[-1])
    fields = {"uploads": " ".join(keys)}
    page = client_of.post(f"/cases/{make_case('T-9').pk}/slides/new/", fields, follow=True)
    assert "118 of 118 images stored" in page.content.decode()
    assert SlideImage.objects.count() == 118
    assert not PartialUpload.objects.exists()


@pytest.mark.slow
def test_unfinished_uploads_are_listed_and_discarded_by_their_owner(client_of, sign_in, make_case, pathologist):
    for name in ("left-1.png", "left-2.png", "left-3.png"):
        create(client_of, 10, name)
    case = make_case("T-8")
    page = client_of.get(f"/cases/{case.pk}/slides/new/").content.decode()
    assert "Unfinished uploads of yours: 3 files" in page
    assert "left-2.png" in page
    keys = [str(upload.pk) for upload in PartialUpload.objects.order_by("created_at")]
    other = sign_in(pathologist)
    assert "left-2.png" not in other.get(f"/cases/{case.pk}/slides/new/").content.decode()
    other.post("/uploads/discard/", {"case": case.pk, "uploads": " ".join(keys)})
    assert PartialUpload.objects.count() == 3
    mine = sign_in(PartialUpload.objects.first().owner)
    page = mine.post("/uploads/discard/", {"case": case.pk, "uploads": keys[0]}, follow=True)
    assert "1 unfinished upload discarded" in page.content.decode()
    mine.post("/uploads/discard/", {"case": case.pk, "uploads": " ".join([*keys, "x"])})
    assert not PartialUpload.objects.exists()
    assert not list(settings.FILE_UPLOAD_TEMP_DIR.glob("tus-*"))
    assert mine.post("/uploads/discard/", {"case": "²", "uploads": ""}).status_code == 404


@pytest.mark.parametrize(
    ("length", "status"), [("", 400), ("-1", 400), ("ten", 400), ("9" * 30, 400), ("٣", 400), (2**50, 413)]
)
def test_a_length_that_is_none_or_too_large_is_refused(client_of, length, status):
    answer = create(client_of, length)
    assert answer.status_code == status
    assert answer.content.endswith(b".")
    assert not PartialUpload.objects.exists()


def test_a_quota_and_a_full_disk_are_said_in_words(client_of, settings):
    settings.UPLOAD_QUOTA_BYTES = 1000
    assert create(client_of, 600).status_code == 201
    refused = create(client_of, 600)
    assert refused.status_code == 413
    assert b"You have 1 unfinished uploads" in refused.content
    assert b"discard them" in refused.content
    settings.DISK_RESERVE_BYTES = 2**62
    assert create(client_of, 100).status_code == 507


def test_a_piece_leaves_the_reserve_of_the_disk_free(client_of, settings):
    """Uploads that were opened while there was room filled the disk of database and reports together."""
    place = create(client_of, 1000)["Location"]
    assert append(client_of, place, 0, bytes(400)).status_code == 204
    reserve, settings.DISK_RESERVE_BYTES = settings.DISK_RESERVE_BYTES, 2**62
    full = append(client_of, place, 400, bytes(600))
    assert (full.status_code, head(client_of, place)["Upload-Offset"]) == (507, "400")
    settings.DISK_RESERVE_BYTES = reserve
    assert append(client_of, place, 400, bytes(600)).status_code == 204


def test_an_upload_belongs_to_whoever_opened_it(client_of, sign_in, make_case, pathologist, outsider, admin):
    content = picture_bytes()
    address = create(client_of, len(content))["Location"]
    append(client_of, address, 0, content)
    key = address.rstrip("/").rsplit("/", 1)[-1]
    for person, status in ((pathologist, 404), (outsider, 404), (admin, 403)):
        other = sign_in(person)
        assert head(other, address).status_code == status
        assert append(other, address, 0, b"1").status_code == status
        assert other.delete(address, **TUS).status_code == status
    answer = sign_in(pathologist).post(
        f"/cases/{make_case('T-3').pk}/slides/new/", {"uploads": key}, HTTP_ACCEPT="application/json"
    )
    assert answer.json()["slide"] is None
    assert not SlideImage.objects.exists()
    assert PartialUpload.objects.count() == 1


def test_anonymous_callers_go_to_the_sign_in_page(client, db):
    assert client.post("/uploads/", **TUS).status_code == 302
    assert client.head(f"/uploads/{uuid.uuid4()}/", **TUS).status_code == 302


def test_a_removed_upload_is_gone(client_of):
    address = create(client_of, 10)["Location"]
    assert client_of.delete(address, **TUS).status_code == 204
    assert head(client_of, address).status_code == 404
    assert not list(settings.FILE_UPLOAD_TEMP_DIR.glob("tus-*"))


def test_the_sweep_throws_expired_uploads_and_stale_files_away_and_keeps_the_living(client_of, broker):
    living, expired = create(client_of, 10)["Location"], create(client_of, 10)["Location"]
    append(client_of, living, 0, b"12345")
    gone = PartialUpload.objects.get(pk=expired.rstrip("/").rsplit("/", 1)[-1])
    PartialUpload.objects.filter(pk=gone.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert head(client_of, expired).status_code == 404
    stale = settings.FILE_UPLOAD_TEMP_DIR / "tmpabc.upload.png"
    stale.write_bytes(b"half")
    os.utime(stale, (0, 0))
    sweep()
    assert not stale.exists()
    assert not gone.path.exists()
    assert head(client_of, living)["Upload-Offset"] == "5"
    client_of.delete(living, **TUS)


@pytest.mark.parametrize(
    "metadata", ["", "filename", "filename !!!", "filename /w==", "a b,c d", ",,,", "filename Lg=="]
)
def test_metadata_that_cannot_be_read_is_an_unnamed_file(client_of, metadata):
    answer = create(client_of, 5, HTTP_UPLOAD_METADATA=metadata)
    assert answer.status_code == 201
    assert PartialUpload.objects.get().name == "image"
    client_of.delete(answer["Location"], **TUS)


@pytest.mark.slow
@pytest.mark.services
def test_a_large_file_over_a_bad_line_arrives_whole(live_server, client, technologist, tmp_path):
    """Pieces of which every third one breaks off half-way: asked for the offset, gone on, hash equal."""
    client.force_login(technologist)
    cookie = f"sessionid={client.cookies['sessionid'].value}; csrftoken={'a' * 32}"
    same = {"Cookie": cookie, "Tus-Resumable": "1.0.0", "X-CSRFToken": "a" * 32}
    length, piece = int(os.environ.get("LEUKOWEB_TEST_UPLOAD_MIB", "128")) * 2**20, 8 * 2**20
    chance = random.Random(3)  # noqa: S311
    block = chance.randbytes(piece)

    def call(method, address, headers, body=b"", break_after=None):
        line = http.client.HTTPConnection(live_server.thread.host, live_server.thread.port, timeout=30)
        line.putrequest(method, address)
        for name, value in {**same, **headers, "Content-Length": str(len(body))}.items():
            line.putheader(name, value)
        line.endheaders()
        if break_after is not None:
            line.send(body[:break_after])
            line.sock.close()
            line.close()
            return None
        line.send(body)
        answer = line.getresponse()
        answer.read()
        line.close()
        return answer

    def offset_after_a_break(address):
        for _ in range(100):
            answer = call("HEAD", address, {})
            probe = call("PATCH", address, {"Upload-Offset": answer.getheader("Upload-Offset"), **KIND})
            if probe.status == 204:  # nobody else is writing any more
                return int(probe.getheader("Upload-Offset"))
        raise AssertionError("the broken request never ended")

    made = call("POST", "/uploads/", {"Upload-Length": str(length)})
    assert made.status == 201
    address, offset, breaks = made.getheader("Location"), 0, 0
    expected = hashlib.sha256()
    for n in range(length // piece):
        expected.update(n.to_bytes(4, "big") + block[4:])
    while offset < length:
        n, within = divmod(offset, piece)
        body = (n.to_bytes(4, "big") + block[4:])[within:]
        if chance.random() < 0.33:
            breaks += 1
            call("PATCH", address, {"Upload-Offset": str(offset), **KIND}, body, break_after=len(body) // 2)
            offset = offset_after_a_break(address)
            continue
        answer = call("PATCH", address, {"Upload-Offset": str(offset), **KIND}, body)
        assert answer.status == 204
        offset = int(answer.getheader("Upload-Offset"))
    upload = PartialUpload.objects.get()
    assert breaks > 3
    assert upload.offset == length
    with upload.path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == expected.hexdigest()
    assert call("DELETE", address, {}).status == 204


KIND = {"Content-Type": "application/offset+octet-stream"}
