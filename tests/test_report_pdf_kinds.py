"""What a report's PDF claims (PDF/A-3a, PDF/UA-1), checked with pypdf.

These are checks of structure, not a validation: veraPDF, the validator of both standards, is a Java program that
neither Debian, PyPI nor npm has. What pypdf cannot see (glyph widths, colour, tags that mean what they say) is not
checked.
"""

import io
from xml.etree import ElementTree

import pytest
from django.urls import reverse
from pypdf import PdfReader
from pypdf.generic import DictionaryObject, IndirectObject, StreamObject

from leukoweb.cases.services import reject_case
from leukoweb.review.models import Report
from leukoweb.review.reports.fonts import can_be_asked
from leukoweb.review.reports.pdf_kinds import EXTENSION, PREFIXES, RDF, SCHEMA, UA
from tests.test_report_forms import amended  # noqa: F401
from tests.test_reports import post_signature, reviewed  # noqa: F401

pytestmark = pytest.mark.slow

A = "http://www.aiim.org/pdfa/ns/id/"
TITLE = "{http://purl.org/dc/elements/1.1/}title"
OF_THE_STANDARD = {RDF, A, EXTENSION, "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/pdf/1.3/",
                   "http://ns.adobe.com/xap/1.0/"} | {PREFIXES[p] for p in ("pdfaSchema", "pdfaProperty")}  # fmt: skip
LEVELS = ["/H1", "/H2", "/H3", "/H4"]


def pdf_of(client, name, key):
    return client.get(reverse(name, args=[key])).content


@pytest.fixture(scope="module")
def made():
    """The files by their kind: each is made once and read by every test."""
    return {}


@pytest.fixture(params=["normal", "amended", "draft", "rejected"])
def pdf(request, made):
    """The PDF of a report of each kind."""
    if request.param not in made:
        made[request.param] = make(request.param, request.getfixturevalue)
    return PdfReader(io.BytesIO(made[request.param]))


def make(kind, fixture):
    if kind == "amended":
        report, client = fixture("amended")
        return pdf_of(client, "report_pdf", report.pk)
    client = fixture("sign_in")(fixture("pathologist"))
    if kind == "rejected":
        case = fixture("make_case")("A-2")
        reject_case(case, by=fixture("technologist"), reason="Clotted.")
        return pdf_of(client, "case_rejection_pdf", case.pk)
    case = fixture("reviewed")()
    post_signature(client, case, act="sign" if kind == "normal" else "keep")
    return pdf_of(client, "report_pdf", Report.objects.get().pk)


def objects(pdf):
    """Every object of the file."""
    for number in range(1, pdf.trailer["/Size"]):
        yield pdf.get_object(IndirectObject(number, 0, pdf))


def elements(node, kinds=()):
    """Every structure element below a node, in the order of reading, with the kinds of those above it."""
    below = node.get("/K", [])
    for child in below if isinstance(below, list) else [below]:
        child = child.get_object()
        if isinstance(child, DictionaryObject) and "/S" in child:
            yield child, kinds
            yield from elements(child, (*kinds, child["/S"]))


def test_one_metadata_claims_both_standards_and_describes_what_pdf_a_does_not_have(pdf):
    metadata = pdf.trailer["/Root"]["/Metadata"].get_data()
    packet = ElementTree.fromstring(metadata)
    (rdf,) = packet
    claims = {name: value for described in rdf for name, value in described.attrib.items()}
    claims |= {child.tag: child.text for described in rdf for child in described}
    assert (claims[f"{{{A}}}part"], claims[f"{{{A}}}conformance"], claims[f"{{{UA}}}part"]) == ("3", "A", "1")
    used = {tag[1:].split("}")[0] for node in rdf.iter() for tag in (node.tag, *node.attrib) if tag[0] == "{"}
    described = {node.text for node in rdf.iter(f"{{{SCHEMA}}}namespaceURI")}
    assert used - OF_THE_STANDARD - {"http://www.w3.org/XML/1998/namespace"} == described == {UA}


def test_title_and_author_are_the_same_in_both_places(pdf):
    rdf = ElementTree.fromstring(pdf.trailer["/Root"]["/Metadata"].get_data())[0]
    words = ["".join(node.itertext()) for node in rdf.iter(TITLE)]
    assert words == [pdf.metadata.title]
    assert pdf.metadata.title
    assert pdf.metadata.author in "".join(rdf.itertext())


def test_the_file_is_whole_in_itself(pdf):
    """PDF/A: identifier, colour profile, fonts within; nothing encrypted, run, or fetched from elsewhere."""
    assert len(pdf.trailer["/ID"]) == 2
    assert "/Encrypt" not in pdf.trailer
    (intent,) = pdf.trailer["/Root"]["/OutputIntents"]
    intent = intent.get_object()
    assert intent["/S"] == "/GTS_PDFA1"
    assert intent["/DestOutputProfile"].get_data()[36:40] == b"acsp"  # the mark of an ICC profile
    for thing in objects(pdf):
        if not isinstance(thing, DictionaryObject):
            continue
        assert not {"/AA", "/JS", "/JavaScript", "/Launch"} & set(thing)
        assert thing.get("/S") not in ("/JavaScript", "/Launch", "/Movie", "/Sound", "/ImportData")
        if isinstance(thing, StreamObject):
            assert not {"/F", "/FFilter"} & set(thing)
            assert "/LZWDecode" not in str(thing.get("/Filter"))
        assert not thing.get("/Interpolate")


def test_every_font_is_embedded_and_tells_its_letters(pdf):
    fonts = [thing for thing in objects(pdf) if isinstance(thing, DictionaryObject) and thing.get("/Type") == "/Font"]
    for font in fonts:
        if font["/Subtype"] == "/Type0":
            assert "/ToUnicode" in font
            assert {"/FontFile2", "/FontFile3"} & set(font["/DescendantFonts"][0].get_object()["/FontDescriptor"])
        else:
            assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(font["/FontDescriptor"])
    assert fonts


def test_the_document_is_tagged_in_a_language_and_shows_its_title(pdf):
    root = pdf.trailer["/Root"]
    assert root["/Lang"] == "en"
    assert root["/MarkInfo"]["/Marked"]
    assert not root["/MarkInfo"].get("/Suspects")
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert "/ParentTree" in root["/StructTreeRoot"]
    for page in pdf.pages:
        assert "/StructParents" in page


def test_headings_begin_with_the_first_level_and_skip_none(pdf):
    levels = [LEVELS.index(e["/S"]) for e, _ in elements(pdf.trailer["/Root"]["/StructTreeRoot"]) if e["/S"] in LEVELS]
    assert levels[0] == 0
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def test_pictures_have_words(pdf):
    figures = [e for e, _ in elements(pdf.trailer["/Root"]["/StructTreeRoot"]) if e["/S"] == "/Figure"]
    assert figures  # the code with the address
    for figure in figures:
        assert figure.get("/Alt") or figure.get("/ActualText"), figure


def test_cells_of_tables_are_in_rows_and_name_their_headings(pdf):
    """ISO 14289-1 wants a scope at each heading, or headings with an identifier that the cells name."""
    tree = list(elements(pdf.trailer["/Root"]["/StructTreeRoot"]))
    headings = [element["/ID"] for element, _ in tree if element["/S"] == "/TH"]
    assert len(set(headings)) == len(headings)
    for element, above in tree:
        if element["/S"] == "/TR":
            assert above[-1] in ("/Table", "/THead", "/TBody", "/TFoot"), above
        if element["/S"] in ("/TH", "/TD"):
            assert above[-1] == "/TR", above
        if element["/S"] == "/TD":
            named = element["/A"].get_object()["/Headers"]
            assert named, element
            assert set(named) <= set(headings), element


def test_all_that_is_drawn_is_tagged_or_an_artifact(pdf):
    """Text outside every marked sequence would be read at a wrong place or not at all."""
    for page in pdf.pages:
        depth, outside = 0, []
        for operands, operator in page.get_contents().operations:
            if operator in (b"BDC", b"BMC"):
                depth += 1
            elif operator == b"EMC":
                depth -= 1
            elif operator in (b"Tj", b"TJ", b"'", b'"', b"Do") and not depth:
                outside.append(operands)
        assert outside == []
        assert depth == 0


def test_links_say_where_they_lead(pdf):
    for page in pdf.pages:
        for annotation in page.get("/Annots", []):
            annotation = annotation.get_object()
            assert annotation.get("/Contents"), annotation
            assert annotation["/F"] & 4  # printed
            assert page.get("/Tabs") == "/S"


def test_a_pdf_that_cannot_draw_every_letter_claims_neither_standard(reviewed, sign_in, pathologist):  # noqa: F811
    """Without fontconfig nobody can say which letters have a font: nothing is named then."""
    case, client = reviewed(), sign_in(pathologist)
    post_signature(client, case, comment="A letter for private use: \U0010fffd")
    reader = PdfReader(io.BytesIO(pdf_of(client, "report_pdf", Report.objects.get().pk)))
    assert ("U+10FFFD" in reader.pages[0].extract_text().replace("\0", "")) == can_be_asked()
    assert ("/Metadata" not in reader.trailer["/Root"]) == can_be_asked()
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]
