"""Which standards a PDF of ours says it follows: PDF/A-3a to be archived and PDF/UA-1 to be read aloud, both at once.

The PDF library writes one of the two claims; the other one and its description are added here. It lays out nothing.

References
----------
ISO 19005-3 wants every property that is not its own described in the file; the description of `pdfuaid:part` is the
one that iText writes (itext-java, pdfa/src/main/java/com/itextpdf/pdfa/PdfAXMPUtil.java).
"""

from functools import partial
from typing import Any
from xml.etree import ElementTree

ARCHIVED = "pdf/a-3a"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
UA = "http://www.aiim.org/pdfua/ns/id/"
EXTENSION = "http://www.aiim.org/pdfa/ns/extension/"
SCHEMA = "http://www.aiim.org/pdfa/ns/schema#"
PROPERTY = "http://www.aiim.org/pdfa/ns/property#"
PREFIXES = {"rdf": RDF, "pdfuaid": UA, "pdfaExtension": EXTENSION, "pdfaSchema": SCHEMA, "pdfaProperty": PROPERTY}
PART = {"name": "part", "valueType": "Integer", "category": "internal", "description": "Part of ISO 14289 followed"}


def write(html: Any, *, is_complete: bool) -> bytes:
    """Return the PDF of a document of WeasyPrint, always tagged.

    Both standards forbid a letter that no font draws: one that is not complete claims neither.
    """
    if not is_complete:
        return html.write_pdf(pdf_tags=True)
    document = html.render(pdf_variant=ARCHIVED)
    document.metadata.generate_rdf_metadata = partial(_both, document.metadata.generate_rdf_metadata)
    return document.write_pdf(pdf_variant=ARCHIVED)


def _both(library: Any, *claim: object) -> bytes:
    """The library's metadata with the claim of PDF/UA-1 beside its own, and what `pdfuaid` is."""
    for prefix, address in PREFIXES.items():
        ElementTree.register_namespace(prefix, address)
    rdf = ElementTree.fromstring(library(*claim))  # noqa: S314  the library wrote it
    ua = _described(rdf)
    ElementTree.SubElement(ua, f"{{{UA}}}part").text = "1"
    bag = ElementTree.SubElement(ElementTree.SubElement(_described(rdf), f"{{{EXTENSION}}}schemas"), f"{{{RDF}}}Bag")
    schema = _resource(bag)
    words = {"schema": "PDF/UA Universal Accessibility Schema", "namespaceURI": UA, "prefix": "pdfuaid"}
    for name, value in words.items():
        ElementTree.SubElement(schema, f"{{{SCHEMA}}}{name}").text = value
    listed = ElementTree.SubElement(ElementTree.SubElement(schema, f"{{{SCHEMA}}}property"), f"{{{RDF}}}Seq")
    part = _resource(listed)
    for name, value in PART.items():
        ElementTree.SubElement(part, f"{{{PROPERTY}}}{name}").text = value
    return ElementTree.tostring(rdf, encoding="utf-8")


def _described(rdf: ElementTree.Element) -> ElementTree.Element:
    return ElementTree.SubElement(rdf, f"{{{RDF}}}Description", {f"{{{RDF}}}about": ""})


def _resource(parent: ElementTree.Element) -> ElementTree.Element:
    return ElementTree.SubElement(parent, f"{{{RDF}}}li", {f"{{{RDF}}}parseType": "Resource"})
