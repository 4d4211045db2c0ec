"""What comes in by page and API: broken, odd and hostile files are refused in words and leave nothing."""

import io
import os
import random
import zlib

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image
from rest_framework.test import APIClient

from leukoweb.cases.intake import clean_name
from leukoweb.cases.models import Slide, SlideImage
from leukoweb.cases.store import original_path
from tests.conftest import PASSWORD
from tests.pictures import picture, picture_bytes

pytestmark = pytest.mark.slow


@pytest.fixture
def send(sign_in, technologist, make_case):
    """Upload files to a new case by the page or by the API: the JSON answer of each."""
    api = APIClient()
    made = iter(range(10_000))

    def by(way, files, **fields):
        case = make_case(f"IN-{next(made)}")
        if way == "page":
            client = sign_in(technologist)
            address, more = f"/cases/{case.pk}/slides/new/", {"HTTP_ACCEPT": "application/json"}
        else:
            if not api._credentials:
                token = api.post("/api/v1/token/", {"username": "tess", "password": PASSWORD}, "json").json()["token"]
                api.credentials(HTTP_AUTHORIZATION=f"Token {token}")
            client, address, more = api, f"/api/v1/cases/{case.accession_number}/slides/", {}
        answer = client.post(address, {"images": files, **fields}, **more)
        assert answer.status_code in (200, 201, 400), answer.content[:300]
        return answer.json(), list(SlideImage.objects.filter(slide__case=case))

    return by


def stored_files():
    """The names of all originals in the store."""
    return {path.name for path in (settings.STORE_DIR / "originals").glob("*/*")}


def assert_each_is_taken_or_refused(files, answer, images, before):
    """Every file is an image row with its bytes in the store, or a sentence; nothing else was stored or left behind."""
    assert len(images) + len(answer["errors"]) == len(files)
    for error in answer["errors"]:
        assert error["error"].endswith((".", "!")), error
        assert len(error["error"]) > 25, error
        assert "/" not in error["error"].replace("ro/", ""), error
    assert stored_files() - before == {image.sha256 for image in images} - before
    for image in images:
        assert original_path(image.sha256).stat().st_size == image.size_bytes
        assert min(image.width_px, image.height_px) >= 32
    assert not list(settings.FILE_UPLOAD_TEMP_DIR.glob("*"))


@pytest.mark.parametrize("way", ["page", "api"])
def test_each_malformed_file_is_a_picture_or_a_sentence(send, real_images, way):
    """430 files of two fuzzing corpora, or 60 cut and spoiled pictures where those are absent."""
    if real_images:
        contents = [(path.name, path.read_bytes()) for path in sorted((real_images / "malformed").iterdir())]
        assert len(contents) == 430
    else:
        contents = [(f"{n}.jpg", spoiled(random.Random(n))) for n in range(60)]  # noqa: S311
    for start in range(0, len(contents), 90):
        files = [SimpleUploadedFile(name, content) for name, content in contents[start : start + 90]]
        before = stored_files()
        answer, images = send(way, files)
        assert_each_is_taken_or_refused(files, answer, images, before)


GOOD = [picture_bytes(format) for format in ("JPEG", "PNG", "BMP", "TIFF")]


def spoiled(chance):
    """One good picture with bytes flipped, cut off, doubled or taken out."""
    content = bytearray(chance.choice(GOOD))
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(content))
        way = chance.random()
        if way < 0.6:
            content[at] = chance.randrange(256)
        elif way < 0.75:
            del content[at + 1 :]
        elif way < 0.9:
            del content[at : at + chance.randint(1, 50)]
            content = content or bytearray(b"\0")
        else:
            content[at:at] = content[at : at + 200]
    return bytes(content)


@pytest.mark.parametrize("number", [200, pytest.param(1000, marks=pytest.mark.nightly)])
def test_spoiled_pictures_are_pictures_or_sentences(send, number):
    chance = random.Random(20261122)  # noqa: S311
    for way in ("page", "api"):
        for _ in range(number // 200):
            files = [SimpleUploadedFile(f"{n}.tif", spoiled(chance)) for n in range(100)]
            before = stored_files()
            answer, images = send(way, files)
            assert_each_is_taken_or_refused(files, answer, images, before)


def bomb() -> bytes:
    """A PNG of 65,000 x 65,000 px in a few kilobytes."""

    def chunk(kind, content):
        return (
            len(content).to_bytes(4, "big")
            + kind
            + content
            + zlib.crc32(kind + content).to_bytes(4, "big")
        )  # fmt: skip

    head = (65_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )


def test_230_files_sent_by_the_api_become_230_images(send):
    answer, images = send("api", [picture(f"{n}.bmp", (n % 256, n // 256, 5), (40, 40)) for n in range(230)])
    assert (answer["stored"], answer["errors"], len(images)) == (230, [], 230)


HOSTILE = {
    "empty.png": b"",
    "page.jpg": b"<!doctype html><script>alert(1)</script>",
    "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "paper.tiff": b"%PDF-1.7\n1 0 obj",
    "moving.bmp": b"GIF89a" + bytes(100),
    "slip.jpg": b"PK\x03\x04" + b"../../etc/passwd" + bytes(100),
    "bomb.png": bomb(),
    "half.png": picture_bytes("PNG", size=(300, 300), color=(1, 2, 3))[:300],
    "dot.png": picture_bytes("PNG", size=(1, 1)),
    "deep.tiff": b"",
}


def test_what_is_no_smear_picture_is_refused_and_the_others_go_on(send):
    out = io.BytesIO()
    Image.new("I;16", (64, 64)).save(out, "TIFF")
    files = [SimpleUploadedFile(name, out.getvalue() if name == "deep.tiff" else c) for name, c in HOSTILE.items()]
    answer, images = send("page", [*files, picture("good.jpg")])
    assert [image.name for image in images] == ["good.jpg"]
    said = {error["name"]: error["error"] for error in answer["errors"]}
    assert set(said) == set(HOSTILE)
    for name, word in {"empty.png": "empty", "paper.tiff": "PDF", "bomb.png": "megapixels", "slip.jpg": "ZIP"}.items():
        assert word in said[name]


def test_a_picture_with_a_web_page_behind_it_is_stored_as_it_is_but_served_as_a_picture(send, client):
    content = picture_bytes("JPEG") + b"<script>alert(1)</script>"
    _, [image] = send("page", [SimpleUploadedFile("polyglot.html", content)])
    assert original_path(image.sha256).read_bytes() == content
    answer = client.get(f"/images/{image.pk}/original")
    assert answer["Content-Type"] == "image/jpeg"
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_a_jpeg_that_ends_early_is_read_and_says_so(send):
    content = picture_bytes("JPEG", size=(640, 480), quality=95)
    chance = random.Random(1)  # noqa: S311
    out = io.BytesIO()
    Image.frombytes("RGB", (640, 480), chance.randbytes(640 * 480 * 3)).save(out, "JPEG")
    content = out.getvalue()
    _, [image] = send("api", [SimpleUploadedFile("cut.jpg", content[:-200])])
    assert image.warning


def test_the_same_picture_comes_once_into_a_case_and_again_into_another(send, sign_in, technologist, make_case):
    twice = [picture("one.png"), picture("copy.png")]
    answer, [image] = send("page", twice)
    assert image.name == "one.png"
    assert "twice" in answer["errors"][0]["error"]
    address = f"/cases/{image.slide.case_id}/slides/new/"
    again = sign_in(technologist).post(address, {"images": [picture("again.png")]}, HTTP_ACCEPT="application/json")
    assert again.json()["slide"] is None
    assert "already in this case" in again.json()["errors"][0]["error"]
    _, [other] = send("page", [picture("other.png")])
    assert other.sha256 == image.sha256
    assert Slide.objects.count() == 2


ODD_NAMES = [
    "../../etc/passwd.png",
    "..\\..\\windows\\system32\\evil.png",
    "C:\\Users\\x\\smear.png",
    "/absolute/smear.png",
    "nul\x00byte.png",
    "line\r\nSet-Cookie: a=b.png",
    "tab\tinside.png",
    "\u202egnp.exe",
    "zero\u200bwidth\ufeff.png",
    "<script>alert(1)</script>.png",
    "{{ 7*7 }}{% load x %}.png",
    "'; DROP TABLE cases_slideimage; --.png",
    '"quoted".png',
    "Blutausstrich Größe 3 µm.png",
    "血液涂片.png",
    "مسحة دم.png",
    "🩸.png",
    "a" * 400 + ".png",
    "." * 40,
    " .png",
    "-rf.png",
    "CON.png",
    "%2e%2e%2f.png",
    "name.png\u2028second",
    "e\u0301" * 90 + ".tiff",
]


def test_two_hundred_odd_names_are_harmless():
    chance = random.Random(7)  # noqa: S311
    alphabet = [chr(c) for c in (*range(0, 0x180), *range(0x2000, 0x2070), 0xD800, 0xFEFF, 0x1F9EB)] + [
        "/",
        "\\",
        "..",
        ".",
    ]
    made = ["".join(chance.choices(alphabet, k=chance.randint(0, 300))) for _ in range(200 - len(ODD_NAMES))]
    for name in ODD_NAMES + made:
        cleaned = clean_name(name)
        assert 0 < len(cleaned) <= 120
        assert not set("/\\\x00\r\n\t\u202e\u200b\u2028") & set(cleaned)
        assert cleaned == cleaned.strip(" .")
        assert cleaned.encode()
    assert clean_name("a" * 400 + ".png").endswith("a.png")
    assert clean_name("Blutausstrich Größe 3 µm.png") == "Blutausstrich Größe 3 µm.png"


def test_pictures_under_odd_names_are_stored_under_their_hash_and_shown_as_text(send, client):
    sendable = [name for name in ODD_NAMES if "\x00" not in name and "\n" not in name]
    files = [picture("x.png", (n, 20, 30)) for n in range(len(sendable))]
    for file, name in zip(files, sendable):
        file._name = name
    before = stored_files()
    answer, images = send("page", files)
    # Django itself drops a file whose name is nothing but dots.
    assert len(images) >= len(files) - 2
    assert all(len(name) == 64 for name in stored_files() - before)
    assert b"<script>alert" not in client.get(f"/slides/{images[0].slide_id}/").content


def test_a_full_disk_is_said_in_words_and_nothing_is_stored(send, settings):
    """The reserve is more than any disk has, so the disk counts as full."""
    settings.DISK_RESERVE_BYTES = 2**62
    before = stored_files()
    for way in ("page", "api"):
        answer, images = send(way, [picture("a.png"), picture("b.png", (1, 1, 1))])
        assert not images
        assert ["no room" in error["error"] for error in answer["errors"]] == [True, True]
    assert stored_files() == before
    assert not Slide.objects.exists()
    assert not list(settings.FILE_UPLOAD_TEMP_DIR.glob("*"))


def test_a_file_over_the_limit_is_stopped_while_it_streams_and_the_others_go_on(send, settings):
    settings.MAX_UPLOAD_BYTES = 300_000
    large = SimpleUploadedFile("large.bmp", picture_bytes("BMP", size=(400, 400)))
    answer, images = send("page", [large, picture("small.png")])
    assert [image.name for image in images] == ["small.png"]
    assert "larger than the limit" in answer["errors"][0]["error"]


def test_an_original_is_stored_unchanged_and_for_reading_only(send):
    content = picture_bytes("TIFF", compression="tiff_lzw")
    _, [image] = send("api", [SimpleUploadedFile("field.tiff", content)], um_per_px="0,13")
    path = original_path(image.sha256)
    assert path.read_bytes() == content
    assert os.stat(path).st_mode & 0o777 == 0o440
    assert (image.um_per_px, image.um_per_px_source) == (0.13, "uploader")
    assert settings.STORE_DIR in path.parents


def test_the_entered_scale_comes_before_that_of_the_file_and_the_difference_is_said(send):
    content = picture_bytes("TIFF", resolution=40_000, resolution_unit=3)  # 40,000 px per cm: 0.25 um per px
    _, [image] = send("page", [SimpleUploadedFile("scaled.tiff", content)], um_per_px="0.1")
    assert (image.um_per_px, image.um_per_px_source) == (0.1, "uploader")
    assert "0.25" in image.warning
