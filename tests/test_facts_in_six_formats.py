"""One list of facts feeds page, PDF, CSV, JSON, HL7 and FHIR: where each fact of a report stands, or why it does not.

A fact that is declared in reports/parts.py, or is in a content, and has no line in FACTS fails.
"""

import io
import json
from dataclasses import fields
from html import unescape as plain
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import strip_tags
from pypdf import PdfReader

from detection.cell_types import BY_CODE, CELL_TYPES
from leukoweb.cases.blood_counts import store_blood_count
from leukoweb.cases.cbc import CbcValue
from leukoweb.cases.models import Case, Patient
from leukoweb.delivery.hl7 import unescape
from leukoweb.delivery.results import result_message
from leukoweb.review.counting.differential import Row
from leukoweb.review.history.alarms import DeltaFact
from leukoweb.review.models import Report
from leukoweb.review.reports import fhir
from leukoweb.review.reports.content import cbc_runs
from leukoweb.review.reports.files import csv_of, json_of
from leukoweb.review.reports.page import page_of
from leukoweb.review.reports.parts import Content
from leukoweb.review.reports.printing import pdf_of
from leukoweb.review.templatetags.report_words import UNITS
from tests.test_cbc import RUN
from tests.test_report_forms import amended, squeezed  # noqa: F401 (a fixture)
from tests.test_reports import reviewed  # noqa: F401 (a fixture)

ALL = ("page", "pdf", "csv", "json", "hl7", "fhir")
PAPER, FIGURES = "page pdf json", "page pdf csv json hl7 fhir"
KEY = "a key: it names nothing to a reader"
RECORD = "the technical record is on paper, which a message embeds or points to"
WORK = "how the laboratory worked: on paper, not in a result"
IN_CSV = "a line of the CSV names its specimen by the accession number alone"
ORDER = "the requester's own words, which came with the order"
# Fields: where they stand in as they are, and why not in the others. What stands as a word or sentence is in `said`.
FACTS = [
    ("product.name product.version", PAPER, RECORD),
    ("product.is_research_use", FIGURES, ""),
    ("laboratory.name laboratory.address laboratory.telephone laboratory.director", FIGURES, ""),
    ("patient.name patient.mrn patient.sex patient.birth_date patient.other_mrns", "page pdf json hl7 fhir", IN_CSV),
    ("patient.age.text", PAPER, "follows from the birth date"),
    ("patient.age.days patient.age.months patient.age.years patient.age_years", "json", "printed as its text"),
    ("specimen.accession_number", FIGURES, ""),
    ("specimen.priority", "page pdf json fhir", ORDER),
    ("specimen.stain specimen.collected_at specimen.received_at specimen.requester specimen.ward "
     "specimen.specimen_type",
     "page pdf json hl7 fhir", IN_CSV),
    ("specimen.copy_to", "page pdf json hl7", f"{IN_CSV}; R4 has no element for whom a copy goes to"),
    ("specimen.collector specimen.clinical_note", "page pdf json fhir", ORDER),
    ("specimen.registered_at specimen.registered_by", PAPER, WORK),
    ("specimen.is_demonstration", PAPER, "a demonstration is never sent"),
    ("specimen.wbc.value specimen.wbc.unit specimen.wbc.source specimen.wbc.at", PAPER,
     "the analyser's own result, which the receiver has from it; the CSV has it among the blood count"),
    ("report.id", PAPER, KEY),
    ("report.version", FIGURES, ""),
    ("report.interpretation report.comment report.lya_meaning report.left_shift_comment report.smudge_reason", FIGURES,
     ""),
    ("report.smudge_as_lymphocytes", FIGURES, ""),
    ("report.amends_version report.amendment_reason", FIGURES, ""),
    ("report.amends_seal amendment.seal", PAPER, KEY),
    ("counts", "json", "the same numbers as the rows of the differential"),
    ("differential.rows.key differential.groups.key differential.unidentified.key", "csv json hl7 fhir",
     "codes of research are for programs"),
    ("differential.rows.name differential.rows.percent differential.rows.per_100 differential.rows.absolute "
     "differential.groups.name differential.groups.percent differential.groups.per_100 differential.groups.absolute",
     FIGURES, ""),
    ("differential.rows.count differential.groups.count", "page pdf csv json",
     "cells are not a result of their own: the total is"),
    ("differential.rows.low differential.rows.high differential.groups.low differential.groups.high",
     "page pdf csv json fhir", "OBX has no field for an interval: what it means for a limit is a note"),
    ("differential.rows.zero_upper differential.groups.zero_upper", "json",
     "printed as the upper bound of a type that was not found"),
    ("differential.rows.counted differential.groups.counted differential.rows.is_grouped "
     "differential.groups.is_grouped differential.rows.is_call_certain differential.groups.is_call_certain "
     "differential.unidentified", "json", "what the figures are made of"),
    ("differential.rows.call differential.groups.call", "page pdf csv json hl7 fhir", ""),
    ("differential.rows.percent_range differential.groups.percent_range differential.rows.absolute_range "
     "differential.groups.absolute_range", "json", "printed as limits in the unit of the line: tests of the table"),
    ("differential.total", "page pdf csv json hl7 fhir", ""),
    ("differential.not_cells differential.is_limited differential.wbc_giga_per_l differential.corrected_wbc "
     "differential.absolute_refusal differential.range_refusal differential.smudge_as_lymphocytes", "json",
     "said in the limits"),
    ("loinc.percent loinc.absolute", "csv json hl7 fhir", "codes for programs"),
    ("flags.title flags.sentence flags.urgency", FIGURES, ""),
    ("flags.key flags.is_machine_only", "json", KEY),
    ("flags.codes", PAPER, "named in the sentence"),
    ("flags.bench_receipt.by flags.bench_receipt.at flags.acknowledged_by flags.acknowledged_at", PAPER, WORK),
    ("previous.accession_number previous.received_at", PAPER, "the receiver has its earlier results"),
    ("laboratory.logo findings.items.pictures", "json", "printed as pictures"),
    ("previous.figures previous.wbc", "json", "printed in the table; the receiver has its earlier results"),
    ("limits", FIGURES, ""),
    ("policies.version policies.sentences", PAPER, RECORD),
    ("policies.rules", "json", "printed as sentences"),
    ("detectors.name", "page pdf json hl7 fhir", RECORD),
    ("detectors.version", "page pdf json fhir", RECORD),
    ("detectors.sha256 detectors.finished_at", PAPER, RECORD),
    ("detectors.slide images.id images.slide", "json", KEY),
    ("detectors.computed_on", "json", "printed as far as a reader needs it"),
    ("images.slide_label images.uploaded_by images.uploaded_at images.name images.sha256 images.width_px "
     "images.height_px images.scale_method", PAPER, RECORD),
    ("images.um_per_px images.is_drawn", "json", "printed rounded, and in words"),
    ("images.warning", FIGURES, ""),
    ("set_aside.slide_label set_aside.reason", FIGURES, ""),
    ("set_aside.by set_aside.at", PAPER, WORK),
    ("attributions", PAPER, "about pictures, which are not sent"),
    ("language", "json", "what the paper is printed in"),
    ("cells", "", "each decision on each cell is in the sealed bundle alone"),
    ("verification.counted verification.verified", FIGURES, ""),
    ("verification.needed", "json", "the laboratory's rule, printed with the rules"),
    ("verification.by", PAPER, WORK),
    ("pictures", "json", "printed as pictures; by FHIR as Media"),
    ("hand_over.by hand_over.at", PAPER, WORK),
    ("reference.readers", FIGURES, ""),
    ("reference.kappa", FIGURES, ""),
    ("reference.differential reference.kappa_low reference.kappa_high reference.read_twice reference.disagreements "
     "reference.open reference.readings", "json", "on paper in one paragraph: test_reference_count"),
    ("amendment.version amendment.signed_by amendment.signed_at amendment.reason", FIGURES, ""),
    ("amendment.meaning", PAPER, "the words of a signature stand on paper"),
    ("amendment.changes.what amendment.changes.before amendment.changes.now", FIGURES, ""),
    ("criticals.title criticals.sentence criticals.no_longer", FIGURES, ""),
    ("criticals.limit criticals.detected_at criticals.bench_receipt.by criticals.bench_receipt.at "
     "criticals.pathologist_receipt.by criticals.pathologist_receipt.at criticals.closed.by criticals.closed.at "
     "criticals.reason", PAPER, WORK),
    ("criticals.source", "csv json hl7 fhir", "beside the limit on the page of rules"),
    ("criticals.code", "json hl7 fhir", "a code for messages"),
    ("criticals.figure criticals.codes criticals.policy_version", "json", KEY),
    ("criticals.calls.to criticals.calls.role criticals.calls.at criticals.calls.minutes criticals.calls.read_back "
     "criticals.calls.how criticals.calls.reached", FIGURES, ""),
    ("criticals.calls.by", PAPER, WORK),
    ("criticals.exception.number criticals.exception.until criticals.exception.reason criticals.exception.by", FIGURES,
     ""),
    ("deltas.title deltas.is_mix_up deltas.escalated.by deltas.escalated.at deltas.escalation deltas.dismissed.by "
     "deltas.dismissed.at deltas.reason deltas.fact.name deltas.fact.unit deltas.fact.now deltas.fact.before "
     "deltas.fact.before_accession deltas.fact.before_at deltas.fact.limit deltas.fact.span", FIGURES, ""),
    ("deltas.raised_at deltas.policy_version deltas.fact.change deltas.fact.measure deltas.fact.source", "json",
     "the two values and the limit say it"),
    ("suggestions.title suggestions.proposed suggestions.answer suggestions.text suggestions.by suggestions.at", PAPER,
     "how the interpretation came about, which says what was taken up"),
    ("suggestions.key suggestions.now suggestions.because suggestions.source suggestions.policy_version", "json",
     "on the sign page"),
    ("cbc.analyser cbc.measured_at cbc.run cbc.runs cbc.remarks", PAPER,
     "the analyser's own result, which the receiver has from it"),
    ("cbc.values.name cbc.values.sent cbc.values.unit cbc.values.range cbc.values.call cbc.values.note",
     "page pdf csv json", "the analyser's own result, which the receiver has from it"),
    ("cbc.values.key cbc.values.value cbc.values.amount cbc.received_at cbc.is_final", "json",
     "printed as it was sent; a preliminary count in words"),
    ("cbc.warnings", FIGURES, ""),
    ("findings.name findings.text findings.note findings.items.name findings.items.text findings.items.note "
     "findings.items.count", FIGURES, ""),
    ("findings.loinc findings.items.loinc findings.key findings.items.key", "csv json hl7 fhir", "codes for programs"),
    ("findings.value findings.items.value findings.items.is_abnormal findings.at findings.items.at findings.items.by",
     "json", "printed as its text, with who said it once for each part"),
    ("findings.by", PAPER, WORK),
    ("signature.name signature.signed_at signature.reset", FIGURES, ""),
    ("signature.username", "page pdf json hl7", "FHIR and CSV name the person"),
    ("signature.role", PAPER, "the words of a signature stand on paper"),
    ("signature.meaning", "page pdf csv json", "the words of a signature stand on paper"),
]  # fmt: skip
PLACES = {name: (places.split(), reason) for names, places, reason in FACTS for name in names.split()}
# Kinds of values that a type leaves open, and mappings whose keys are no names of facts.
OPEN = {"deltas.fact": DeltaFact, "cbc.values": CbcValue, "differential.rows": Row, "differential.groups": Row}
MAPPINGS = ("loinc", "differential.groups")
SAID = {
    "product.is_research_use": {True: "Research use, not a medical device"},
    "specimen.priority": {"stat": ("stat", "STAT")},
    "patient.sex": {"F": ("female", "F")},
    "report.smudge_as_lymphocytes": {
        True: ("smudge cells counted as lymphocytes", "Smudge cells counted as lymphocytes")
    },
    "deltas.is_mix_up": {True: "Possible sample mix-up"},
    "criticals.calls.reached": {True: "Told to"},
    "criticals.calls.how": {"phone": "telephone"},
    "criticals.calls.read_back": {True: "read back"},
    "suggestions.answer": {"edited": "in other words by"},
    "differential.rows.call": {"high": ("high", "H"), "low": ("low", "L")},
    "differential.groups.call": {"high": ("high", "H"), "low": ("low", "L")},
    "flags.urgency": {"urgent": "URGENT", "review": "", "note": ""},
}


def declared(kind, path=""):
    """Every fact that a type declares, by its path."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    kind = OPEN.get(path, kind)
    if get_origin(kind) in (list, dict) and any(map(is_typeddict, get_args(kind))):
        kind = get_args(kind)[-1]
    if is_typeddict(kind):
        for name, inner in get_type_hints(kind).items():
            yield from declared(inner, f"{path}.{name}" if path else name)
    elif kind in (CbcValue, Row):
        yield from (f"{path}.{one.name}" for one in fields(kind))
    else:
        yield path


def facts(value, path=""):
    """Every text and number of a content with its path; what says nothing (empty, no, none) is left out."""
    if path in PLACES:
        for inner in value if isinstance(value, list) else [value]:
            if inner not in (None, "", False, [], {}):
                yield path, inner
    elif isinstance(value, list):
        for inner in value:
            if not path.startswith("differential.") or inner["count"]:
                yield from facts(inner, path)
    elif path in MAPPINGS:
        for inner in value.values():
            yield from facts([inner] if "count" in inner else inner, f"{path}.")
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from facts(inner, f"{path.rstrip('.')}.{name}" if path else name)
    elif value not in (None, ""):
        yield path, value


def forms_of(path, value):
    """What a value may look like, squeezed; any of them."""
    if path.endswith(".unit"):
        return [squeezed(one) for one in (UNITS.get(value, value), value)]
    if path in SAID:
        said = SAID[path][value]
        return [squeezed(one) for one in ([said] if isinstance(said, str) else said)]
    if path == "flags.codes":
        return [squeezed(BY_CODE[value].short)]
    if path == "differential.rows.name":  # messages have the names of LOINC
        return [squeezed(form) for one in CELL_TYPES if one.name == value for form in (one.plural, value)]
    if isinstance(value, float) or path == "reference.kappa":
        return [f"{value:.{n}f}" for n in (1, 2, 3)] + [f"{value:g}"]
    text = str(value)
    forms = [text, text.replace("-", ""), text.replace("_", "-")]
    if path.endswith("_at") or path.endswith(".at"):
        forms = [text[:16], text[:16].replace("T", " "), text[:16].translate({45: "", 58: "", 84: ""})]
    return [squeezed(form) for form in forms]


@pytest.fixture
def everything(amended, technologist):  # noqa: F811
    """A signed report whose content holds every kind of fact, and its case with what a message reads from it."""
    report = amended[0]
    case, at = report.case, timezone.localtime().isoformat(timespec="seconds")
    by = {"by": "Bea Bench", "at": at}
    given = {"requester": "Jones, Robert", "ward": "Ward 7", "copy_to": "Doe, Jane", "specimen_type": "EDTA blood",
             "collector": "Cole Lector"}  # fmt: skip
    collected = timezone.now()
    Case.objects.filter(pk=case.pk).update(**given, collected_at=collected)
    store_blood_count(case, RUN, by=technologist)
    Patient.objects.create(laboratory=case.laboratory, mrn="M-OLD", name=case.patient.name, survivor=case.patient)
    report = Report.objects.get(pk=report.pk)
    content = report.content
    content["specimen"] |= given | {"collected_at": timezone.localtime(collected).isoformat(timespec="seconds")}
    content["patient"]["other_mrns"] = ["M-OLD"]
    content["report"] |= {"smudge_as_lymphocytes": True, "smudge_reason": "Known CLL.",
                          "left_shift_comment": "Left shift: bands 20 %."}  # fmt: skip
    rows = content["differential"]["rows"]
    next(row for row in rows if row["key"] == "KSC")["count"] = 0  # they are among the lymphocytes
    here = {row["key"] for row in rows if row["count"]} | content["differential"]["groups"].keys()
    content["loinc"] = {key: codes for key, codes in content["loinc"].items() if key in here}
    content["cbc"] = {**cbc_runs(case)[0], "runs": 2, "warnings": ["The index does not follow."]}
    content["flags"][0] |= {"bench_receipt": by}
    content["verification"] |= {"verified": 100}
    content["set_aside"] = [{"slide_label": "Slide 9", "reason": "Torn film.", "by": "Seth Aside", "at": at}]
    content["attributions"] = ["Pictures of Somebody, CC BY."]
    content["hand_over"] = {"by": "Hanna Over", "at": at}
    content["previous"] = {"accession_number": "A-0999", "received_at": at, "figures": {}}
    content["signature"]["reset"] = "The password was reset on this day."
    content["reference"] = {
        "readers": ["Rea Der", "Sec Ond"], "differential": {"total": 400, "rows": []}, "kappa": 0.913,
        "kappa_low": 0.8, "kappa_high": 0.99, "read_twice": 200, "disagreements": 3, "open": 0, "readings": [],
    }  # fmt: skip
    content["criticals"][0] |= {
        "bench_receipt": by, "closed": by, "reason": "Told on the ward.", "code": "LL",
        "no_longer": "one cell became a lymphocyte",
        "calls": [{"to": "Dr Ward", "role": "physician", "how": "phone", "reached": True, "read_back": True, "at": at,
                   "minutes": 17, "by": "Cal Ler"}],
    }  # fmt: skip
    covered = {"number": 4711, "until": "2027-02-03", "reason": "Known AML, cycle 2.", "by": "Exa Cept"}
    content["criticals"].append({**content["criticals"][0], "title": "Neutropenia", "no_longer": "",
                                 "figure": "neutrophils#", "exception": covered})  # fmt: skip
    content["deltas"] = [{
        "title": "Haemoglobin drop", "is_mix_up": True, "policy_version": 1, "raised_at": at, "escalated": by,
        "escalation": "Please look.", "dismissed": by, "reason": "Bleeding, known.",
        "fact": {"name": "Haemoglobin", "unit": "g/L", "now": "85", "before": "140", "change": -55.0,
                 "before_accession": "A-0998", "before_at": at, "limit": 30, "measure": "value", "span": "72h",
                 "source": "Ours"},
    }]  # fmt: skip
    content["suggestions"] = [{
        "key": "left_shift", "title": "Left shift", "proposed": "Bands are increased.", "now": "Bands are increased.",
        "because": "film:NGB 20 > 10", "source": "Ours", "policy_version": 1, "answer": "edited",
        "text": "Marked left shift.", "by": "Ann Swer", "at": at,
    }]  # fmt: skip
    content["findings"] = [{
        "key": "red_cells", "name": "Red cells", "value": "seen", "text": "abnormal", "loinc": "6742-1",
        "note": "thick area", "by": ["Fin Ding"], "at": at,
        "items": [{"key": "schistocytes", "name": "Schistocytes", "value": "2", "text": "2+", "is_abnormal": True,
                   "loinc": "800-3", "note": "many helmets", "count": "1.2 % of red cells", "by": "Fin Ding",
                   "at": at}],
    }]  # fmt: skip
    return report, Case.objects.with_state().get(pk=case.pk)


def texts_of(report, case):
    """What each format says of a report, as text without white space."""
    content = report.content
    page = page_of(report, content)
    pdf = PdfReader(io.BytesIO(pdf_of({**page, "address": "https://leukoweb.example/reports/1/"})))
    hl7 = result_message(report, control_id=report.seal[:20], zone_time=timezone.localtime()).decode()
    resources = [
        fhir.patient_of(case.patient), fhir.request_of(case), fhir.specimen_of(case), fhir.report_of(case, report),
        *fhir.observations_of(case, report),
    ]  # fmt: skip
    texts = {
        "page": plain(strip_tags(render_to_string("review/_report.html", {**page, "pictures": []}))),
        "pdf": "".join(part.extract_text() for part in pdf.pages),
        "csv": csv_of(report, content).replace('""', '"'),
        "json": json.dumps(json.loads(json_of(report, content)), ensure_ascii=False),
        "hl7": unescape(hl7, "|^~\\&"),
        "fhir": json.dumps(resources, ensure_ascii=False),
    }
    return {name: squeezed(text) for name, text in texts.items()}


@pytest.mark.slow
def test_each_fact_of_a_report_stands_in_the_six_formats_or_has_a_reason_not_to(everything):
    report, case = everything
    found = list(facts(report.content))
    known = {*declared(Content), *(path for path, _ in found)}
    parts = {path.rpartition(".")[0] for path in PLACES}  # of a part that its type leaves open, the content is walked
    whole = {one for one in known if any(one.startswith(f"{path}.") for path in PLACES)}
    assert sorted(known - PLACES.keys() - parts - whole) == [], "these facts have no line"
    assert [path for path, (places, reason) in PLACES.items() if set(places) != set(ALL) and not reason] == []
    texts = texts_of(report, case)
    absent = {
        f"{path} in {place}: {value}"
        for path, value in found
        for place in PLACES[path][0]
        if place != "json" and not any(form in texts[place] for form in forms_of(path, value))
    }
    assert not absent, "\n".join(sorted(absent))
    told = json.loads(json_of(report, report.content))
    assert {name for name in report.content if told.get(name) != report.content[name]} == {"cells"}
