"""The laboratory's atlas: chosen pictures of each type, filled by admins."""

import io
import tempfile
from pathlib import Path

import numpy as np
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.utils.translation import gettext
from PIL import Image

from detection.cell_types import CODES
from detection.images import ImageRefused, Limits, unpack_image
from leukoweb.accounts.models import User
from leukoweb.audit.services import record
from leukoweb.cases.intake import hash_of
from leukoweb.cases.models import SlideImage
from leukoweb.refusals import Refused
from leukoweb.review.models import AtlasPicture

SHOWN_PX = 360
MOST_BYTES = 20 * 2**20
_LIMITS = Limits(max_bytes=MOST_BYTES, max_slide_bytes=0, max_pixels=30_000_000)


def add_picture(file: UploadedFile, *, code: str, caption: str, source: str, by: User) -> AtlasPicture:
    """Read an uploaded picture in the limited child process and keep a small JPEG of it."""
    if code not in CODES:
        raise Refused(gettext("Choose the type that the picture shows."))
    if not source.strip():
        raise Refused(gettext("Enter the source of the picture and its licence."))
    if file is None or file.size > MOST_BYTES:
        raise Refused(gettext("Choose a picture of one cell, at most %(number)s MB.") % {"number": MOST_BYTES // 2**20})
    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
        original = Path(folder) / "original"
        with original.open("wb") as kept:
            for chunk in file.chunks():
                kept.write(chunk)
        if SlideImage.objects.of_demonstrations().filter(sha256=hash_of(original)).exists():
            raise Refused(
                gettext("This picture belongs to a demonstration case: choose one of your own, or of another source.")
            )
        try:
            unpack_image(original, folder, limits=_LIMITS)
        except ImageRefused as refusal:
            raise Refused(str(refusal)) from refusal
        picture = Image.fromarray(np.load(Path(folder) / "pixels.npy"))
    picture.thumbnail((SHOWN_PX, SHOWN_PX), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=90)
    with transaction.atomic():
        added = AtlasPicture.objects.create(
            laboratory=by.laboratory,
            code=code,
            caption=caption.strip()[:200],
            source=source.strip()[:200],
            jpeg=jpeg.getvalue(),
            added_by=by,
        )
        record("atlas.add", actor=by, obj=added, changes={"code": code, "source": added.source})
    return added


def delete_picture(picture: AtlasPicture, *, by: User) -> None:
    """Take a picture out of the atlas."""
    with transaction.atomic():
        record("atlas.delete", actor=by, obj=picture, changes={"code": picture.code, "source": picture.source})
        picture.delete()
