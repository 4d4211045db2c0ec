"""Resumable uploads after tus 1.0 (creation, expiration, termination): pieces of a file come until it is whole.

It checks the sender and stores the bytes; what a file must be is checked by intake.py, whose answers are kept
with the upload, so that the files of a large slide can be checked in several requests.
"""

import base64
import binascii
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import http_date
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from detection.images import ImageFacts, ImageRefused
from leukoweb.accounts.access import requires
from leukoweb.cases.intake import DISK_FULL, Landed, clean_name, examine, seconds_for
from leukoweb.cases.models import Case, PartialUpload, PartialUploadQuerySet
from leukoweb.cases.store import has_room_for, hash_of
from leukoweb.given import whole_number
from leukoweb.places import DISK_FULL_ERRORS

VERSION = "1.0.0"
PIECE_BYTES, ROOM_ASKED_BYTES = 1 << 18, 1 << 26
LARGE_BYTES = 1 << 28  # a whole slide, more often than not


@require_http_methods(["OPTIONS", "POST"])
@requires("upload_slide")
def tus_create(request: HttpRequest) -> HttpResponse:
    """Say what is offered, or open an upload of a stated length for this person."""
    if request.method == "OPTIONS":
        offer = {"Tus-Version": VERSION, "Tus-Extension": "creation,expiration,termination"}
        return _answer(204, headers={**offer, "Tus-Max-Size": str(settings.MAX_UPLOAD_BYTES)})
    if refusal := _other_version(request):
        return refusal
    length = request.headers.get("Upload-Length", "")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        return _answer(400, "Upload-Length must be the number of bytes of the file.")
    length = int(length)
    if length > settings.MAX_UPLOAD_BYTES:
        return _answer(413, f"The file is larger than the limit of {settings.MAX_UPLOAD_BYTES / 2**20:.0f} MiB.")
    _drop_expired(PartialUpload.objects.filter(owner=request.user))
    waiting = PartialUpload.objects.unfinished_of(request.user).aggregate(files=Count("pk"), size=Sum("size_bytes"))
    if (waiting["size"] or 0) + length > settings.UPLOAD_QUOTA_BYTES or waiting["files"] >= 2 * settings.MOST_IMAGES:
        return _answer(413, _over_quota(waiting["files"], waiting["size"] or 0))
    if not has_room_for(length):
        return _answer(507, DISK_FULL)
    upload = PartialUpload.objects.create(
        owner=request.user,
        name=_name_in(request.headers.get("Upload-Metadata", "")),
        size_bytes=length,
        expires_at=timezone.now() + settings.UPLOAD_KEEP,
    )
    try:
        settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
        upload.path.touch(mode=0o600)
    except OSError as error:
        upload.delete()
        if error.errno not in DISK_FULL_ERRORS:
            raise
        return _answer(507, DISK_FULL)
    return _answer(201, upload=upload, headers={"Location": reverse("tus_upload", args=[upload.pk])})


@require_http_methods(["HEAD", "PATCH", "DELETE"])
@requires("upload_slide")
def tus_upload(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Say how much came, take the next piece, or forget the upload; another person's upload does not exist."""
    upload = get_object_or_404(PartialUpload, pk=pk, owner=request.user, expires_at__gt=timezone.now())
    if refusal := _other_version(request):
        return refusal
    if request.method == "HEAD":
        return _answer(200, upload=upload, headers={"Upload-Length": str(upload.size_bytes)})
    if request.method == "DELETE":
        forget(upload)
        return _answer(204)
    if request.content_type != "application/offset+octet-stream":
        return _answer(415, "A piece must come as application/offset+octet-stream.")
    offset = request.headers.get("Upload-Offset", "")
    if not re.fullmatch(r"[0-9]{1,18}", offset):
        return _answer(400, "Upload-Offset must be the number of bytes that came so far.")
    return _append(request, upload, int(offset))


@require_POST
@requires("upload_slide")
def uploads_discard(request: HttpRequest) -> HttpResponse:
    """Throw away the unfinished uploads of this person that the page named, and go back to that page."""
    case = get_object_or_404(Case.objects.visible_to(request.user), pk=whole_number(request.POST.get("case")))
    keys = [key for key in map(_uuid, request.POST.get("uploads", "").split()) if key]
    uploads = list(PartialUpload.objects.unfinished_of(request.user).filter(pk__in=keys))
    for upload in uploads:
        forget(upload)
    messages.success(
        request,
        ngettext("%(count)s unfinished upload discarded.", "%(count)s unfinished uploads discarded.", len(uploads))
        % {"count": len(uploads)},
    )
    return redirect("slide_upload", case.pk)


def forget(upload: PartialUpload) -> None:
    """Throw away an upload: the bytes first, so that no row is left that points nowhere."""
    upload.path.unlink(missing_ok=True)
    upload.delete()


def check_whole(uploads: list[PartialUpload], *, within_s: float) -> int:
    """Examine uploads that came whole and keep the answers with them; return how many are still unexamined."""
    unknown = [upload for upload in uploads if not upload.facts]
    files = [Landed(upload.name, upload.path, upload.sha256) for upload in unknown]
    if files and files[0].path.stat().st_size > LARGE_BYTES:  # alone it may take longer than that
        within_s = max(within_s, seconds_for(files[:1]))
    examine(files, within_s=within_s)
    for upload, file in zip(unknown, files):
        if isinstance(file.facts, ImageFacts):
            upload.sha256, upload.facts = hash_of(upload.path), asdict(file.facts)
        elif file.facts is not None:
            upload.facts = {"refused": str(file.facts)}
        if upload.facts:
            upload.save(update_fields=["sha256", "facts"])
    return sum(not upload.facts for upload in uploads)


def landed_of(upload: PartialUpload, position: int) -> Landed:
    """Return an examined upload as a file that landed."""
    facts = ImageRefused(upload.facts["refused"]) if "refused" in upload.facts else ImageFacts(**upload.facts)
    return Landed(upload.name, upload.path, upload.sha256 or str(upload.pk), position, facts)


def sweep_incoming() -> int:
    """Throw away expired uploads, and files that a killed process left in the incoming folder; returns how many."""
    dropped = _drop_expired(PartialUpload.objects.all())
    oldest = time.time() - settings.UPLOAD_KEEP.total_seconds()
    alive = {f"tus-{pk}" for pk in PartialUpload.objects.values_list("pk", flat=True)}
    for path in settings.FILE_UPLOAD_TEMP_DIR.glob("*"):
        with suppress(FileNotFoundError):
            if path.name in alive or path.stat().st_mtime > oldest:
                continue
            if path.name.startswith(("intake-", "look-")):
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_file():
                path.unlink()
            dropped += 1
    return dropped


def _append(request: HttpRequest, upload: PartialUpload, offset: int) -> HttpResponse:
    """Write a piece at the end of the file: one request at a time, only where the file ends, not beyond its length."""
    with open(upload.path, "ab", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _answer(423, "Another request is still writing to this upload: ask for the offset and try again.")
        came = os.fstat(file.fileno()).st_size
        if offset != came:
            return _answer(409, "Upload-Offset is not where the upload ends: ask for the offset and go on there.")
        asked_at = -ROOM_ASKED_BYTES
        try:
            while piece := request.read(PIECE_BYTES):
                if came - asked_at >= ROOM_ASKED_BYTES:  # other uploads may be filling the same disk
                    if not has_room_for(len(piece)):
                        return _answer(507, DISK_FULL)
                    asked_at = came
                came += len(piece)
                if came > upload.size_bytes:
                    file.truncate(offset)
                    return _answer(413, "More bytes came than Upload-Length said.")
                rest = memoryview(piece)
                while rest:  # without a buffer, so that a full disk is noticed here
                    rest = rest[file.write(rest) :]
        except UnreadablePostError:
            pass  # the line broke: what came stays, and the sender goes on there
        except OSError as error:
            if error.errno not in DISK_FULL_ERRORS:
                raise
            return _answer(507, DISK_FULL)
    upload.expires_at = timezone.now() + settings.UPLOAD_KEEP
    upload.save(update_fields=["expires_at"])
    return _answer(204, upload=upload)


def _over_quota(files: int, size_bytes: int) -> str:
    return (
        f"You have {files} unfinished uploads ({size_bytes / 2**20:.0f} MiB) and the limit is "
        f"{2 * settings.MOST_IMAGES} files and {settings.UPLOAD_QUOTA_BYTES / 2**20:.0f} MiB: make slides of them, or "
        "discard them in the list on this page."
    )


def _uuid(text: str) -> uuid.UUID | None:
    with suppress(ValueError):
        return uuid.UUID(text)
    return None


def _drop_expired(uploads: PartialUploadQuerySet) -> int:
    expired = list(uploads.filter(expires_at__lte=timezone.now()))
    for upload in expired:
        forget(upload)
    return len(expired)


def _other_version(request: HttpRequest) -> HttpResponse | None:
    if request.headers.get("Tus-Resumable") == VERSION:
        return None
    return _answer(412, "This server speaks tus 1.0.0.", headers={"Tus-Version": VERSION})


def _name_in(metadata: str) -> str:
    """Return the cleaned `filename` of an Upload-Metadata header; whatever cannot be read is an unnamed file."""
    for pair in metadata.split(","):
        key, _, value = pair.strip().partition(" ")
        if key == "filename":
            with suppress(binascii.Error, UnicodeDecodeError, ValueError):
                return clean_name(base64.b64decode(value, validate=True).decode())
    return clean_name("")


def _answer(
    status: int, sentence: str = "", upload: PartialUpload | None = None, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    response = HttpResponse(sentence, status=status, content_type="text/plain; charset=utf-8")
    for name, value in {"Tus-Resumable": VERSION, "Cache-Control": "no-store", **(headers or {})}.items():
        response[name] = value
    if upload is not None:
        response["Upload-Offset"] = str(upload.offset)
        response["Upload-Expires"] = http_date(upload.expires_at.timestamp())
    return response
