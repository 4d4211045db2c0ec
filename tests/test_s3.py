"""The store on S3, against a real server: machines without a common disk, a server that is away, moves and backups."""

import io
import json
import os
from contextlib import contextmanager
from datetime import timedelta

import boto3
import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from detection.phantom import draw_field
from leukoweb.analysis.models import Cell, Run
from leukoweb.analysis.services import STORE_AWAY
from leukoweb.analysis.tasks import run_detection
from leukoweb.analysis.uploads import accept_upload
from leukoweb.cases.copies import local_original, prune_copies
from leukoweb.cases.models import PartialUpload, SlideImage
from leukoweb.cases.retention import expire_image
from leukoweb.cases.services import reject_case
from leukoweb.cases.store import derived_folder, original_path
from leukoweb.ops.health import store_checks
from leukoweb.refusals import Refused
from tests.pictures import picture, picture_bytes
from tests.services import S3, free_port
from tests.test_backup import Installation

pytestmark = pytest.mark.services

KEY = {"access_key": "a-laboratory", "secret_key": "of-a-test"}


@pytest.fixture(scope="module")
def server():
    server = S3()
    yield server
    server.stop()


@pytest.fixture
def objects(server, settings, tmp_path):
    """An empty bucket that holds the store; this process is the first machine."""
    client = boto3.resource(
        "s3", endpoint_url=server.address, region_name="us-east-1",
        aws_access_key_id=KEY["access_key"], aws_secret_access_key=KEY["secret_key"],
    )  # fmt: skip
    bucket = client.Bucket(f"smears-{tmp_path.name[-20:].strip('-').replace('_', '-').lower()}")
    bucket.create()
    options = {"bucket_name": bucket.name, "endpoint_url": server.address, "region_name": "us-east-1", **KEY}
    settings.S3_BUCKET, settings.STORE_DIR = bucket.name, tmp_path / "first"
    settings.STORAGES = settings.STORAGES | {"store": {"BACKEND": "leukoweb.cases.s3.Bucket", "OPTIONS": options}}
    return bucket


@pytest.fixture
def machine(objects, settings, tmp_path):
    """Go on as another machine: nothing is in its folder yet."""

    def go_to(name):
        settings.STORE_DIR = tmp_path / name

    return go_to


@contextmanager
def away(settings):
    """Let the server be away: nobody listens where it was."""
    held = settings.STORAGES
    options = held["store"]["OPTIONS"] | {"endpoint_url": f"http://127.0.0.1:{free_port()}"}
    settings.STORAGES = held | {"store": held["store"] | {"OPTIONS": options}}
    yield
    settings.STORAGES = held


def keys(bucket):
    return [one.key for one in bucket.objects.all()]


@pytest.fixture
def slide(objects, make_case, technologist):
    slide, refused = accept_upload(make_case(), [ContentFile(picture_bytes(), name="field.png")], by=technologist)
    assert not refused
    return slide


@pytest.mark.slow  # the detector reads a field
def test_machines_without_a_common_disk_upload_read_show_and_remove(
    objects, machine, make_case, technologist, sign_in, tmp_path
):
    png = io.BytesIO()
    Image.fromarray(draw_field(450, 450, um_per_px=0.2, seed=1, leukocytes={"NGS": 5, "LYT": 3}).image).save(png, "PNG")
    client, case = sign_in(technologist), make_case()
    sent = {"images": ContentFile(png.getvalue(), name="field.png"), "um_per_px": "0.2"}
    assert client.post(reverse("slide_upload", args=[case.pk]), sent).status_code == 302
    run, image = Run.objects.get(), SlideImage.objects.get()
    assert keys(objects) == [f"originals/{image.sha256[:2]}/{image.sha256}"]

    machine("worker")
    run_detection.apply(args=(run.pk,), task_id="one")
    run.refresh_from_db()
    assert (run.state, run.error) == (Run.State.DONE, "")
    assert f"derived/{image.sha256[:2]}/{image.sha256}/pyramid.zip" in keys(objects)

    machine("web")
    cell = Cell.objects.first()
    addresses = [
        reverse("image_original", args=[image.pk]),
        reverse("image_tile", args=[image.pk, 9, 0, 0]),
        reverse("cell_crop", args=[cell.pk]),
    ]
    answers = [client.get(address) for address in addresses]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert b"".join(answers[0].streaming_content) == png.getvalue()
    call_command("check_store")

    machine("worker")
    assert expire_image(image)
    assert keys(objects) == []
    machine("web")  # where copies still are
    assert original_path(image.sha256).exists()
    assert [client.get(address).status_code for address in addresses] == [404, 404, 404]


@pytest.mark.slow  # the worker loads its detector before it asks for the images
def test_while_the_server_is_away_nothing_is_stored_or_lost_and_each_door_says_so(
    slide, machine, settings, sign_in, technologist, make_case
):
    run, image, own = slide.runs.get(), slide.images.get(), sign_in(technologist)
    address = reverse("slide_upload", args=[make_case("A-2").pk])
    content = picture_bytes(color=(1, 2, 3))
    part = PartialUpload.objects.create(
        owner=technologist, name="b.png", size_bytes=len(content), expires_at=timezone.now() + timedelta(hours=1)
    )
    part.path.write_bytes(content)
    machine("worker")
    with away(settings):
        by_page = own.post(address, {"images": picture(color=(9, 9, 9))})
        in_pieces = own.post(address, {"uploads": str(part.pk)}, headers={"Accept": "application/json"})
        original = own.get(reverse("image_original", args=[image.pk]))
        for answer in (by_page, in_pieces, original):
            assert (answer.status_code, answer["Retry-After"]) == (503, "5")
            assert "image store does not answer" in answer.content.decode()
        run_detection.apply(args=(run.pk,), task_id="one")
        run.refresh_from_db()
        assert (run.state, run.attempt, run.error) == (Run.State.QUEUED, 0, STORE_AWAY)
        assert [(check.name, check.state) for check in store_checks()] == [("image store", "failed")]
        with pytest.raises(CommandError, match="Broken off"):
            call_command("move_store", "to-folder")
    assert [check.state for check in store_checks()] == ["ok"]
    assert SlideImage.objects.count() == 1
    assert own.post(address, {"uploads": str(part.pk)}).status_code == 302  # the pieces were kept
    assert SlideImage.objects.count() == 2


def test_the_check_of_the_store_finds_what_was_lost_changed_or_left(objects, slide, capsys):
    image = slide.images.get()
    key = f"originals/{image.sha256[:2]}/{image.sha256}"
    objects.put_object(Key=f"originals/ff/{'f' * 64}", Body=b"left")
    objects.put_object(Key=key, Body=bytes(image.size_bytes))
    with pytest.raises(CommandError, match="2 problems"):
        call_command("check_store")
    said = capsys.readouterr().out
    assert f"changed: the file of image {image.sha256} has another SHA-256" in said
    assert f"orphan: originals/ff/{'f' * 64} has no row" in said
    call_command("check_store", remove_orphans=1)
    assert keys(objects) == [key]
    objects.Object(key).delete()
    with pytest.raises(CommandError, match="1 problems"):
        call_command("check_store")
    assert f"lost: image {image.sha256}" in capsys.readouterr().out


def test_bytes_that_were_changed_in_the_bucket_are_neither_shown_nor_read(
    objects, slide, machine, sign_in, technologist
):
    image, run = slide.images.get(), slide.runs.get()
    objects.put_object(Key=f"originals/{image.sha256[:2]}/{image.sha256}", Body=picture_bytes(color=(1, 1, 1)))
    machine("worker")
    answer = sign_in(technologist).get(reverse("image_original", args=[image.pk]))
    assert (answer.status_code, "not the one that was uploaded" in answer.content.decode()) == (409, True)
    run_detection.apply(args=(run.pk,), task_id="one")
    run.refresh_from_db()
    assert run.state == Run.State.FAILED
    assert "not the one that was uploaded" in run.error


def test_an_upload_whose_case_is_rejected_while_it_comes_leaves_no_bytes_in_the_bucket(
    objects, make_case, technologist
):
    case = make_case()

    def coming():
        yield ContentFile(picture_bytes(), name="field.png")
        reject_case(case, by=technologist, reason="clotted")

    with pytest.raises(Refused, match="rejected"):
        accept_upload(case, coming(), by=technologist)
    assert keys(objects) == []


def test_copies_keep_within_their_limit_and_those_of_removed_images_go_first(
    objects, slide, machine, settings, make_case, technologist
):
    other, _ = accept_upload(
        make_case("A-2"), [ContentFile(picture_bytes(color=(3, 3, 3)), name="b.png")], by=technologist
    )
    machine("worker")
    first, second = slide.images.get(), other.images.get()
    paths = [local_original(image.sha256) for image in (first, second)]
    assert all(path.exists() for path in paths)
    machine("other")
    assert expire_image(first)
    machine("worker")
    settings.S3_CACHE_BYTES = 10**9
    marker = settings.STORE_DIR / "pruned"
    marker.unlink()
    assert prune_copies() == 0  # used a moment ago
    for path in (marker, *paths):
        os.utime(path, (0, 0))
    assert prune_copies() == 1
    assert [path.exists() for path in paths] == [False, True]
    settings.S3_CACHE_BYTES = 1
    os.utime(marker, (0, 0))
    assert prune_copies() == 1
    assert local_original(second.sha256).read_bytes() == picture_bytes(color=(3, 3, 3))  # it is brought again


def test_the_store_moves_to_the_bucket_and_back_goes_on_after_a_stop_and_takes_no_damaged_file(
    objects, settings, tmp_path, make_case, make_slide, draw_pixels, technologist, capsys
):
    held, settings.STORAGES = settings.STORAGES, {k: v for k, v in settings.STORAGES.items() if k != "store"}
    settings.FOLDER_STORE_DIR = settings.STORE_DIR = tmp_path / "store"
    slide, _ = accept_upload(make_case(), [ContentFile(picture_bytes(), name="a.png")], by=technologist)
    image = slide.images.get()
    draw_pixels(make_slide(make_case("A-2"), {"LYT": 1}))
    drawn = SlideImage.objects.exclude(pk=image.pk).get()
    settings.STORAGES, settings.STORE_DIR = held, tmp_path / "copies"
    with pytest.raises(CommandError, match="1 originals"):  # the drawn picture is not the file of its name
        call_command("move_store", "to-bucket")
    assert f"{drawn.sha256} has another SHA-256 than its name" in capsys.readouterr().out
    stray = tmp_path / "store" / "originals" / drawn.sha256[:2] / drawn.sha256
    stray.unlink()
    call_command("move_store", "to-bucket")
    assert "1 originals; 1 archives" in capsys.readouterr().out
    assert local_original(image.sha256).read_bytes() == picture_bytes()

    settings.FOLDER_STORE_DIR = tmp_path / "back"
    call_command("move_store", "to-folder")
    moved = tmp_path / "back" / "originals" / image.sha256[:2] / image.sha256
    assert moved.read_bytes() == picture_bytes()
    tiles = derived_folder(drawn.sha256).relative_to(settings.STORE_DIR) / "pyramid"
    before = {p.relative_to(tmp_path / "store") for p in (tmp_path / "store" / tiles).rglob("*.jpg")}
    assert {p.relative_to(tmp_path / "back") for p in (tmp_path / "back" / tiles).rglob("*.jpg")} == before != set()


@pytest.mark.slow  # each command in a process of its own
def test_a_backup_of_a_bucket_comes_back_into_another_one_or_into_a_folder(objects, server, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(picture_bytes())

    def installation(name, prefix="", *, migrated=False):
        made = Installation(tmp_path / name, "", migrated=migrated)
        if prefix:
            made.env |= {
                "LEUKOWEB_S3_BUCKET": objects.name, "LEUKOWEB_S3_PREFIX": prefix, "LEUKOWEB_S3_REGION": "us-east-1",
                "LEUKOWEB_S3_ENDPOINT": server.address, "LEUKOWEB_S3_ACCESS_KEY": KEY["access_key"],
                "LEUKOWEB_S3_SECRET_KEY": KEY["secret_key"],
            }  # fmt: skip
        return made

    used = installation("used", "one", migrated=True)
    for command in (("prepare", "--images", images), ("backup", tmp_path / "backups")):
        code, said = used.manage(*command)
        assert code == 0, said
    [backup] = (tmp_path / "backups").iterdir()
    assert json.loads((backup / "manifest.json").read_text())["originals"] == 1
    for name, prefix in (("second", "two"), ("plain", "")):
        code, said = installation(name, prefix).manage("restore", backup)
        assert (code, "1 images with the hashes" in said) == (0, True), said
    assert [key.split("/")[0] for key in keys(objects)] == ["one", "two"]
    code, said = installation("second", "two").manage("restore", backup)
    assert code != 0
    assert "not empty" in said
