"""Odd files of laboratories through page, resumable upload and API: each is read rightly or refused in a sentence."""

import base64
import io

import numpy as np
import pytest
import tifffile
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image
from rest_framework.test import APIClient

from detection.images import unpack_image
from leukoweb.cases.models import PartialUpload, SlideImage
from tests.conftest import PASSWORD, SHARED

pytestmark = pytest.mark.slow

ODD = SHARED / "odd"
CM, INCH = 3, 2


def smear(height_px=96, width_px=128):
    """A drawn field in colour: pale ground with purple discs."""
    y, x = np.mgrid[:height_px, :width_px]
    field = np.full((height_px, width_px, 3), (232, 214, 222), np.uint8)
    for at_y, at_x in ((30, 30), (60, 90), (70, 40)):
        field[(y - at_y) ** 2 + (x - at_x) ** 2 < 144] = (96, 52, 140)
    return field


def tiff(pixels=None, name="field.tif", **options):
    out = io.BytesIO()
    options.setdefault("photometric", "rgb")
    tifffile.imwrite(out, smear() if pixels is None else pixels, **options)
    return name, out.getvalue()


def pillow(format, pixels=None, **options):
    out = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(smear() if pixels is None else pixels)
    picture.save(out, format, **options)
    return f"field.{format.lower()}", out.getvalue()


def described(text, **options):
    return tiff(description=text, metadata=None, **options)


def ome(x, unit, y=None, quote='"', tag="Pixels"):
    sizes = "".join(
        f" PhysicalSize{axis}={quote}{size}{quote}" + (f" PhysicalSize{axis}Unit={quote}{unit}{quote}" if unit else "")
        for axis, size in (("X", x), ("Y", y or x))
    )
    return described(
        f'<?xml version="1.0"?><OME><Image ID="Image:0"><{tag} SizeX="128"{sizes}/></Image></OME>'.encode()
    )


def pages(*pictures, subfiletypes=None, **options):
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for number, picture in enumerate(pictures):
            kind = subfiletypes[number] if subfiletypes else 0
            grey = picture.ndim == 2
            writer.write(
                picture, photometric="minisblack" if grey else "rgb", subfiletype=kind, metadata=None, **options
            )
    return "pages.tif", out.getvalue()


def raw(kind):
    """A TIFF whose first page is a small RGB picture and whose second is a sensor's mosaic, as in camera raw files."""
    out = io.BytesIO()
    extra = [(50706, "B", 4, b"\1\4\0\0", True)] if kind == "DNG" else []
    with tifffile.TiffWriter(out) as writer:
        writer.write(smear(48, 64), photometric="rgb", subfiletype=1, metadata=None, extratags=extra)
        writer.write(np.zeros((96, 128), np.uint8), photometric=32803, metadata=None)
    return f"field.{kind.lower()}", out.getvalue()


def with_exif_orientation(format, value):
    exif = Image.Exif()
    exif[0x0112] = value
    return pillow(format, exif=exif)


def exif_scale(format):
    exif = Image.Exif()
    exif[282] = exif[283] = 100_000.0
    exif[296] = CM
    options = {"dpi": (72, 72)} if format == "JPEG" else {}
    return pillow(format, exif=exif, **options)


def holed(name_and_content, share=0.5, length=300):
    """The same file with a hole of zeros in the middle."""
    name, content = name_and_content
    at = int(share * len(content))
    return name, content[:at] + bytes(length) + content[at + length :]


def noise():
    return smear() - np.random.default_rng(4).integers(0, 60, (96, 128, 3), dtype=np.uint8) // 2


def noise_jpeg(**options):
    return pillow("JPEG", noise(), quality=95, **options)


def noise_png():
    return pillow("PNG", np.random.default_rng(5).integers(0, 255, (96, 128, 3), dtype=np.uint8))


def scans(count, of=noise):
    """A progressive JPEG whose last scan is there `count` times more."""
    name, content = pillow("JPEG", of(), quality=95, progressive=True)
    last = content.rindex(b"\xff\xda")
    return name, content[:-2] + content[last:-2] * count + content[-2:]


def planes_of_scans(count):
    """A TIFF whose colours are such streams, one after the other."""
    stream, file = scans(count, lambda: noise()[..., 1])[1], io.BytesIO()
    tifffile.imwrite(
        file, iter([stream] * 3), shape=(3, 96, 128), dtype=np.uint8, photometric="rgb", planarconfig="separate",
        compression="jpeg", tile=(96, 128),
    )  # fmt: skip
    return "planes.tif", file.getvalue()


def clear(format, alpha):
    return pillow(format, np.dstack([smear(), np.full(smear().shape[:2], alpha, np.uint8)]))


def cut_tiff_of_jpegs(**options):
    """A TIFF of JPEG streams whose last one ends early."""
    name, content = tiff(noise(), compression="jpeg", **options)
    return name, content[:-700]


def packed(compression, *, share=0.5, length=1500):
    """A compressed TIFF of noise with a hole of zeros in its only strip."""
    pixels = np.random.default_rng(6).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    return holed(tiff(pixels, compression=compression, rowsperstrip=256), share, length)


def cut_tiff_of_jpegxr():
    name, content = tiff(noise(), compression="jpegxr", rowsperstrip=96)
    return name, content[:-700]


def bmp_with_rows_from_below():
    """A BMP, whose lowest row comes first, with a cluster lost over two rows of which neither is lost whole."""
    name, content = pillow("BMP", smear(96, 900))
    at = 54 + 40 * 2700 + 1350
    return name, content[:at] + bytes(2400) + content[at + 2400 :]


def several_pictures(first, second):
    out = io.BytesIO()
    Image.fromarray(first).save(out, "MPO", save_all=True, append_images=[Image.fromarray(second)])
    return "field.jpg", out.getvalue()


def clear_but(shown):
    """A picture that is transparent but for a share of its columns."""
    alpha = np.zeros(smear().shape[:2], np.uint8)
    alpha[:, : int(shown * 128)] = 255
    return np.dstack([smear(), alpha])


def bmp_with_hole():
    name, content = pillow("BMP", smear(256, 256))
    return name, content[:90_000] + bytes(8192) + content[98_192:]


# Made here: file -> what is read (scale, words of the warning), or the words of the refusal.
READ, REFUSED = "read", "refused"
MADE = {
    "PNG whose alpha is 0 everywhere": (lambda: clear("PNG", 0), READ, None, "ignored"),
    "TIFF whose alpha is 128 everywhere": (lambda: clear("TIFF", 128), READ, None, "ignored"),
    "grey PNG": (lambda: pillow("PNG", Image.fromarray(smear()).convert("L")), REFUSED, None, "no colour"),
    "grey PNG with alpha": (lambda: pillow("PNG", Image.fromarray(smear()).convert("LA")), REFUSED, None, "no colour"),
    "grey TIFF": (lambda: tiff(smear()[..., 1], photometric="minisblack"), REFUSED, None, "no colour"),
    "grey stored as RGB": (lambda: pillow("BMP", np.repeat(smear()[..., 1:2], 3, 2)), REFUSED, None, "no colour"),
    "grey palette": (
        lambda: pillow("PNG", Image.fromarray(smear()).convert("L").convert("P")), REFUSED, None, "no colour",
    ),
    "grey JPEG of three channels": (
        lambda: pillow("JPEG", np.repeat(smear()[..., 1:2], 3, 2)), REFUSED, None, "no colour",
    ),
    "three grey pages": (lambda: pages(*np.moveaxis(smear(), 2, 0)), REFUSED, None, "grey pages"),
    "two grey pages": (lambda: pages(*np.moveaxis(smear(), 2, 0)[:2]), REFUSED, None, "grey pages"),
    "preview first without saying so": (lambda: pages(smear(48, 64), smear()), READ, None, "largest page"),
    "only a reduced page": (lambda: pages(smear(), subfiletypes=[1]), REFUSED, None, "reduced preview"),
    "two pages of one size": (lambda: pages(smear(), smear()[::-1]), READ, None, "only the first"),
    "RGB that is said to be grey": (
        lambda: tiff(photometric="minisblack", planarconfig="contig"), READ, None, "red, green and blue",
    ),
    "DNG": (lambda: raw("DNG"), REFUSED, None, "camera raw"),
    "NEF": (lambda: raw("NEF"), REFUSED, None, "camera raw"),
    "CR2": (lambda: ("a.cr2", b"II*\0\x10\0\0\0CR\x02\0" + bytes(500)), REFUSED, None, "Canon CR2"),
    "CR3": (lambda: ("a.cr3", b"\0\0\0\x18ftypcrx " + bytes(500)), REFUSED, None, "Canon CR3"),
    "ORF": (lambda: ("a.orf", b"IIRO" + bytes(500)), REFUSED, None, "Olympus ORF"),
    "RW2": (lambda: ("a.rw2", b"IIU\0" + bytes(500)), REFUSED, None, "Panasonic RW2"),
    "RAF": (lambda: ("a.raf", b"FUJIFILMCCD-RAW " + bytes(500)), REFUSED, None, "Fujifilm RAF"),
    "index of a slide (.vsi)": (lambda: ("a.vsi", tiff()[1]), REFUSED, None, "folder beside it"),
    "index of a slide (.MRXS)": (lambda: ("A.MRXS", pillow("JPEG")[1]), REFUSED, None, "folder beside it"),
    "JPEG with a hole": (lambda: holed(noise_jpeg()), READ, None, "damaged"),
    "progressive JPEG with a hole": (lambda: holed(noise_jpeg(progressive=True)), READ, None, "damaged"),
    "TIFF of one JPEG that ends early": (cut_tiff_of_jpegs, READ, None, "damaged"),
    "TIFF of JPEG tiles that ends early": (lambda: cut_tiff_of_jpegs(tile=(48, 64)), READ, None, "damaged"),
    "JPEG of 57 bits by damage": (
        lambda: ("57.jpg", noise_jpeg()[1].replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x39")),
        REFUSED, None, "is damaged",
    ),
    "BMP with a cluster lost over two rows": (bmp_with_rows_from_below, READ, None, "exactly black"),
    "JPEG of two pictures": (lambda: several_pictures(smear(), smear()[::-1]), READ, None, "only the first"),
    "JPEG with a small second picture": (lambda: several_pictures(noise(), smear(12, 16)), READ, None, ""),
    "animated PNG": (
        lambda: pillow("PNG", save_all=True, append_images=[Image.fromarray(smear()[::-1])]), READ, None, "2 pictures",
    ),
    "PNG that is transparent nearly everywhere": (
        lambda: pillow("PNG", clear_but(0.02)), REFUSED, None, "transparent nearly everywhere",
    ),
    "TIFF that is transparent nearly everywhere": (
        lambda: tiff(clear_but(0.02), extrasamples=["unassalpha"]), REFUSED, None, "transparent nearly everywhere",
    ),
    "PNG that is transparent at one side": (lambda: pillow("PNG", clear_but(0.75)), READ, None, "25 % of the picture"),
    "TIFF of five channels": (
        lambda: tiff(np.dstack([smear(), smear()[..., :2]]), planarconfig="contig"), READ, None, "first three",
    ),
    "BMP with a lost cluster": (bmp_with_hole, READ, None, "exactly black"),
    "TIFF with a lost cluster": (lambda: holed(tiff(smear(256, 256)), length=8192), READ, None, "exactly black"),
    "TIFF in JPEG 2000 with a lost cluster": (lambda: packed("jpeg2000"), READ, None, "lost a piece"),
    "TIFF in WebP with a lost cluster": (lambda: packed("webp"), READ, None, "lost a piece"),
    "TIFF in LZW with a lost cluster": (lambda: packed("lzw"), REFUSED, None, "damaged"),
    "TIFF in PackBits with a lost cluster": (lambda: packed("packbits"), REFUSED, None, "damaged"),
    "TIFF in JPEG XR with a lost cluster": (lambda: packed("jpegxr"), READ, None, "lost a piece"),
    "TIFF in Zstandard with a lost cluster": (lambda: packed("zstd"), READ, None, "lost a piece"),
    "TIFF in Deflate with one wrong byte": (lambda: packed("deflate", length=1), REFUSED, None, "damaged"),
    "TIFF in JPEG XR that ends early": (cut_tiff_of_jpegxr, READ, None, "ends before its picture"),
    "TIFF in LZW of one colour": (
        lambda: tiff(np.where(smear(256, 256) > 230, 255, smear(256, 256)), compression="lzw"), READ, None, "",
    ),
    "PNG with a hole": (lambda: holed(noise_png(), length=40), REFUSED, None, "damaged"),
    "JPEG of 2,000 scans": (lambda: scans(2000), REFUSED, None, "scans"),
    "TIFF of colours apart in JPEG of 2,000 scans": (lambda: planes_of_scans(2000), REFUSED, None, "scans"),
    "progressive JPEG": (lambda: noise_jpeg(progressive=True), READ, None, ""),
    "EXIF scale beside JFIF": (lambda: exif_scale("JPEG"), READ, 0.1, ""),
    "EXIF scale of a PNG": (lambda: exif_scale("PNG"), READ, 0.1, ""),
    "density of a PNG": (lambda: pillow("PNG", dpi=(254_000, 254_000)), READ, 0.1, ""),
    "OME in mm": (lambda: ome("0.0001", "mm"), READ, 0.1, ""),
    "OME in cm": (lambda: ome("0.00001", "cm"), READ, 0.1, ""),
    "OME in angstrom": (lambda: ome("1000", "&#xC5;"), READ, 0.1, ""),
    "OME with a numbered entity": (lambda: ome("0.1", "&#181;m"), READ, 0.1, ""),
    "OME with a named entity": (lambda: ome("0.1", "&micro;m"), READ, 0.1, ""),
    "OME in microns with a prefix": (lambda: ome("0.1", "microns", tag="OME:Pixels"), READ, 0.1, ""),
    "OME without a unit": (lambda: ome("0.1", None), READ, 0.1, ""),
    "OME in pixels": (lambda: ome("0.1", "pixel"), READ, None, ""),
    "OME in nanometres": (lambda: ome("100", "nanometre"), READ, 0.1, ""),
    "OME in mil": (lambda: ome("0.00393701", "mil"), READ, 0.1, ""),
    "OME with a decimal comma": (lambda: ome("0,1", "µm"), READ, 0.1, ""),
    "OME whose comment says another scale": (
        lambda: described(
            b'<OME><!-- <Pixels PhysicalSizeX="0.5"/> --><Pixels PhysicalSizeX="0.1" PhysicalSizeY="0.1"/></OME>'
        ),
        READ, 0.1, "",
    ),
    "OME default of 1 by division": (lambda: ome("0.9999999", "µm"), READ, None, ""),
    "OME default of 1": (lambda: ome("1", "µm"), READ, None, ""),
    "OME of two scales": (lambda: ome("0.1", "µm", "0.3"), READ, None, ""),
    "ImageJ in nm": (
        lambda: described("ImageJ=1.54\nunit=nm\n", resolution=(0.01, 0.01), resolutionunit=1), READ, 0.1, "",
    ),
    "ImageJ in cm": (
        lambda: described("ImageJ=1.54\nunit=cm\n", resolution=(100_000, 100_000), resolutionunit=1), READ, 0.1, "",
    ),
    "ImageJ escaped micro sign": (
        lambda: described("ImageJ=1.54\nunit=\\u00B5m\n", resolution=(10, 10), resolutionunit=1), READ, 0.1, "",
    ),
    "ImageJ escaped Greek mu": (
        lambda: described("ImageJ=1.54\nunit=\\u03BCm\n", resolution=(10, 10), resolutionunit=1), READ, 0.1, "",
    ),
    "ImageJ with rows in another unit": (
        lambda: described("ImageJ=1.54\nunit=um\nyunit=nm\n", resolution=(10, 0.01), resolutionunit=1), READ, 0.1, "",
    ),
    "ImageJ with rows of another size": (
        lambda: described("ImageJ=1.54\nunit=um\nyunit=mm\n", resolution=(10, 10), resolutionunit=1), READ, None, "",
    ),
    "ImageJ with rows in an unknown unit": (
        lambda: described("ImageJ=1.54\nunit=um\nyunit=rows\n", resolution=(10, 10), resolutionunit=1), READ, None, "",
    ),
    "ImageJ default of 1": (
        lambda: described("ImageJ=1.54\nunit=um\n", resolution=(1, 1), resolutionunit=1), READ, None, "",
    ),
    "ImageJ without unit, tag in inches": (
        lambda: described("ImageJ=1.54\nimages=1\n", resolution=(254_000, 254_000), resolutionunit=INCH), READ, 0.1, "",
    ),
    "Aperio in tiles": (
        lambda: described("Aperio Image Library v12\r\n128x96|AppMag = 40|MPP = 0.1", tile=(48, 64)), READ, 0.1, "",
    ),
    "Aperio with a power of ten": (lambda: described("Aperio|MPP = 1.0E-01|AppMag = 40"), READ, 0.1, ""),
    "Aperio with a decimal comma": (lambda: described("Aperio|MPP = 0,1000"), READ, 0.1, ""),
    "Aperio in small letters": (lambda: described("Aperio|mpp = 0.1"), READ, 0.1, ""),
    "Micro-Manager": (lambda: described('{"PixelSizeUm": 0.1, "Width": 128}'), READ, 0.1, ""),
    "Micro-Manager of version 1": (lambda: described('{"PixelSize_um":0.1}'), READ, 0.1, ""),
    "Micro-Manager default": (lambda: described('{"PixelSizeUm": 1.0}'), READ, None, ""),
    "12-bit TIFF": (
        lambda: tiff((smear().astype(np.uint16) << 4), bitspersample=12, compression=None), REFUSED, None, "12 bits",
    ),
    "signed TIFF": (lambda: tiff(smear().view(np.int8)), REFUSED, None, "signed"),
    "PNG with a profile of 3 MB": (
        lambda: pillow("PNG", icc_profile=np.random.default_rng(1).bytes(3 << 20)), READ, None, "",
    ),
}  # fmt: skip

# Of the shared folder, where it is: the same answers.
FILES = {
    "alpha_all_zero_v4.bmp": (READ, None, "ignored"),
    "alpha_all_zero_unassociated.tif": (READ, None, "ignored"),
    "grey_one_channel.jpg": (REFUSED, None, "no colour"),
    "thumbnail_is_first_page.tif": (READ, None, "largest page"),
    "raw_camera_thumbnail_first.dng": (REFUSED, None, "camera raw file (DNG)"),
    "colours_as_three_pages_imagej.tif": (READ, 0.08, ""),
    "only_the_preview_of_a_slide.mrxs": (REFUSED, None, "folder beside it"),
    "jpeg_hole_of_zeros.jpg": (READ, None, "damaged"),
    "second_half_zeros.tif": (READ, None, "50 % of the picture"),
    "jpeg_12_bit.jpg": (REFUSED, None, "12 bits a channel: save it as 8-bit"),
    "png_text_over_1_mb.png": (READ, None, ""),
    "sparse_tile.tif": (READ, None, "left white"),
    "strip_byte_counts_last_too_large.tif": (READ, None, ""),
    "strip_byte_counts_zero.tif": (READ, None, ""),
    "sample_format_4.tif": (READ, None, ""),
    "aperio_33003_ycbcr.svs": (READ, 0.08, ""),
    "scale_ome_nm.ome.tif": (READ, 0.08, ""),
    "scale_ome_greek_mu.ome.tif": (READ, 0.08, ""),
    "scale_ome_single_quotes.ome.tif": (READ, 0.08, ""),
    "scale_ome_default_1_um.ome.tif": (READ, None, ""),
    "scale_ome_x_is_not_y.ome.tif": (READ, None, ""),
    "scale_imagej_comment_and_cm_tag.tif": (READ, 0.08, ""),
    "scale_imagej_mm.tif": (READ, 0.08, ""),
    "scale_aperio_in_strips.tif": (READ, 0.08, ""),
    "scale_between_1_and_2_um.tif": (READ, None, ""),
    "orientation_6.jpg": (READ, None, ""),
    "plain.jpg": (READ, None, ""),
    "plain_small.png": (READ, None, ""),
}


@pytest.fixture(scope="module")
def table():
    """File name -> (content, answer): every name is its own, so that answers can be told apart."""
    made = {}
    for number, (make, answer, scale, words) in enumerate(MADE.values()):
        name, content = make()
        made[f"{number}-{name}"] = (content, answer, scale, words)
    if ODD.is_dir():
        made |= {name: ((ODD / name).read_bytes(), *expected) for name, expected in FILES.items()}
    return made


def by_page(client, case, table):
    files = [SimpleUploadedFile(name, row[0]) for name, row in table.items()]
    return client.post(f"/cases/{case.pk}/slides/new/", {"images": files}, HTTP_ACCEPT="application/json").json()


def by_api(client, case, table):
    api = APIClient()
    token = api.post("/api/v1/token/", {"username": "tess", "password": PASSWORD}, "json").json()["token"]
    files = [SimpleUploadedFile(name, row[0]) for name, row in table.items()]
    address = f"/api/v1/cases/{case.accession_number}/slides/"
    return api.post(address, {"images": files}, HTTP_AUTHORIZATION=f"Token {token}").json()


def by_tus(client, case, table):
    keys = []
    for name, (content, *_) in table.items():
        metadata = "filename " + base64.b64encode(name.encode()).decode()
        head = {"HTTP_TUS_RESUMABLE": "1.0.0"}
        made = client.post("/uploads/", HTTP_UPLOAD_LENGTH=str(len(content)), HTTP_UPLOAD_METADATA=metadata, **head)
        kind = "application/offset+octet-stream"
        assert client.patch(made["Location"], content, kind, HTTP_UPLOAD_OFFSET="0", **head).status_code == 204
        keys.append(made["Location"].rstrip("/").rsplit("/", 1)[-1])
    address, fields = f"/cases/{case.pk}/slides/new/", {"uploads": " ".join(keys)}
    while (answer := client.post(address, fields, HTTP_ACCEPT="application/json")).status_code == 202:
        pass
    return answer.json()


@pytest.mark.parametrize("way", [by_page, by_api, by_tus])
def test_every_odd_file_is_read_as_meant_or_refused_in_a_sentence(sign_in, technologist, make_case, table, way):
    answer = way(sign_in(technologist), make_case("ODD-1"), table)
    refused = {one["name"]: one["error"] for one in answer["errors"]}
    images = {image.name: image for image in SlideImage.objects.all()}
    wrong = {}
    for name, (_, expected, scale, words) in table.items():
        if expected == REFUSED:
            if words not in refused.get(name, "") or name in images:
                wrong[name] = refused.get(name, "was taken")
        elif name not in images:
            wrong[name] = refused.get(name, "vanished")
        elif images[name].um_per_px != scale or bool(words) != bool(images[name].warning):
            wrong[name] = (images[name].um_per_px, images[name].warning)
        elif words not in images[name].warning:
            wrong[name] = images[name].warning
    assert wrong == {}
    assert answer["stored"] == len(images) == len(table) - len(refused)
    assert not PartialUpload.objects.exists()
    assert not list(settings.FILE_UPLOAD_TEMP_DIR.glob("*"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_picture_is_shown_upright_whatever_its_orientation(tmp_path, format, orientation):
    upright = smear()
    stored = {
        2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: np.swapaxes(upright, 0, 1),
        6: np.rot90(upright, 1), 7: np.swapaxes(upright[::-1, ::-1], 0, 1), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    if format == "TIFF":
        options["tiffinfo"] = {274: orientation}
    else:
        options["exif"] = exif
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a", format, **options)
    facts = unpack_image(tmp_path / "a", tmp_path / "out")
    assert (facts.width_px, facts.height_px) == (128, 96)
    pixels = np.load(tmp_path / "out/pixels.npy").astype(int)
    assert np.abs(pixels - upright).mean() < (4 if format == "JPEG" else 0.001)
    assert not (tmp_path / "out/lying.npy").exists()


@pytest.mark.parametrize("alpha", [0, 7])
def test_colours_beside_a_fourth_channel_that_means_nothing_are_read_unchanged(tmp_path, alpha):
    for format in ("PNG", "TIFF"):
        (tmp_path / format).write_bytes(clear(format, alpha)[1])
        unpack_image(tmp_path / format, tmp_path / f"{format}.out")
        np.testing.assert_array_equal(np.load(tmp_path / f"{format}.out/pixels.npy"), smear())


def test_three_pages_of_imagej_are_the_colours_of_one_picture(tmp_path):
    planes = np.moveaxis(smear(), 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, imagej=True, metadata={"axes": "CYX", "mode": "composite"})
    unpack_image(tmp_path / "a.tif", tmp_path / "out")
    np.testing.assert_array_equal(np.load(tmp_path / "out/pixels.npy"), smear())


def test_aperio_ycbcr_has_the_colours_that_openslide_shows(tmp_path):
    import openslide

    path = ODD / "aperio_33003_ycbcr.svs"
    if not path.exists():
        path = tmp_path / "a.svs"
        ycbcr = np.asarray(Image.fromarray(smear(256, 256)).convert("YCbCr"))
        tifffile.imwrite(
            path, ycbcr, photometric="rgb", tile=(128, 128), compression=33003, metadata=None,
            description="Aperio Image Library v11.0.37\r\n256x256|MPP = 0.1",
        )  # fmt: skip
    unpack_image(path, tmp_path / "out")
    pixels = np.load(tmp_path / "out/pixels.npy").astype(int)
    with openslide.OpenSlide(path) as slide:
        shown = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")).astype(int)
    assert np.abs(pixels - shown).mean() < 3


def test_a_black_surround_is_no_damage(tmp_path):
    y, x = np.mgrid[:256, :256]
    field = smear(256, 256)
    field[(y - 128) ** 2 + (x - 128) ** 2 > 120**2] = 0
    Image.fromarray(field).save(tmp_path / "a.png")
    facts = unpack_image(tmp_path / "a.png", tmp_path / "out")
    assert facts.warning == ""
