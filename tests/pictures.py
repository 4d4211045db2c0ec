"""Small pictures and uploads for tests; they show nothing and only have to be real files."""

import io

from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image


def picture_bytes(format="PNG", color=(180, 150, 190), size=(120, 90), **options) -> bytes:
    """The bytes of a plain picture; another colour makes another file."""
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, format, **options)
    return out.getvalue()


def picture(name="field.png", color=(180, 150, 190), size=(120, 90)) -> SimpleUploadedFile:
    """A picture as a browser would send it."""
    suffix = name.rsplit(".", 1)[-1].upper()
    return SimpleUploadedFile(name, picture_bytes({"JPG": "JPEG", "TIF": "TIFF"}.get(suffix, suffix), color, size))
