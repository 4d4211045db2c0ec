"""Logos of laboratories: read as untrusted bytes, kept as PNG, never changed; a report names its own by hash."""

import base64
import hashlib
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext
from PIL import Image

from detection.images import ImageRefused, Limits, unpack_image
from leukoweb.accounts.models import Laboratory, Logo, User
from leukoweb.audit.services import record
from leukoweb.refusals import Refused

MOST_BYTES, MOST_WIDTH_PX, MOST_HEIGHT_PX = 5 * 2**20, 800, 300
_LIMITS = Limits(max_bytes=MOST_BYTES, max_slide_bytes=0, max_pixels=30_000_000, needs_colour=False)


def add_logo(laboratory: Laboratory, file: UploadedFile, *, text: str, by: User) -> Logo:
    """Decode a picture in the limited child process and make it the logo of later reports."""
    if not text.strip():
        raise Refused(gettext("Describe the logo in words: they are read where it is not seen."), "logo_text")
    if file.size is None or file.size > MOST_BYTES:
        raise Refused(gettext("Choose a picture of at most %(number)s MB.") % {"number": MOST_BYTES // 2**20}, "logo")
    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
        original = Path(folder) / "original"
        with original.open("wb") as kept:
            for chunk in file.chunks():
                kept.write(chunk)
        try:
            unpack_image(original, folder, limits=_LIMITS)
        except ImageRefused as refusal:
            raise Refused(str(refusal), "logo") from refusal
        picture = Image.fromarray(np.load(Path(folder) / "pixels.npy"))
    picture.thumbnail((MOST_WIDTH_PX, MOST_HEIGHT_PX), Image.Resampling.LANCZOS)
    png = io.BytesIO()
    picture.save(png, "PNG", optimize=True)
    with transaction.atomic():
        logo = Logo.objects.create(
            laboratory=laboratory, sha256=hashlib.sha256(png.getvalue()).hexdigest(), png=png.getvalue(),
            text=text.strip()[:200], added_by=by,
        )  # fmt: skip
        record("laboratory.logo", actor=by, obj=laboratory, laboratory=laboratory,
               changes={"sha256": logo.sha256, "text": logo.text})  # fmt: skip
    return logo


def logo_of(laboratory: Laboratory) -> dict[str, str]:
    """Return hash and words of the newest logo, as a report seals them; empty where there is none."""
    logo = Logo.objects.filter(laboratory=laboratory).defer("png").first()
    return {"sha256": logo.sha256, "text": logo.text} if logo else {}


def png_of(sha256: str) -> bytes | None:
    """Return the picture that a hash names; None where it is not there, or is no longer what the hash says."""
    logo = Logo.objects.filter(sha256=sha256).first()
    png = bytes(logo.png) if logo else b""
    return png if png and hashlib.sha256(png).hexdigest() == sha256 else None


def logo_address(laboratory: Mapping[str, Any]) -> str:
    """Return the address of the logo of a report's laboratory; "" for none."""
    return reverse("laboratory_logo", args=[laboratory["logo"]["sha256"]]) if laboratory.get("logo") else ""


def embedded_logo(laboratory: Mapping[str, Any]) -> str:
    """Return the logo of a report's laboratory as a data: address; "" for none."""
    png = png_of(laboratory["logo"]["sha256"]) if laboratory.get("logo") else None
    return f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else ""
