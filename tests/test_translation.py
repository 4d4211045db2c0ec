"""The languages of the pages: who decides, and that every shipped language is whole."""

import html
import io
import re
from gettext import GNUTranslations

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import translation
from pypdf import PdfReader

from leukoweb.review.counting.delta_rules import ACTIONS as DELTA_ACTIONS
from leukoweb.review.counting.policies import BANDS, FOUR_EYES, RELEASE, Rules
from leukoweb.review.counting.review_rules import ACTIONS
from leukoweb.review.counting.review_rules_offered import OFFERED
from leukoweb.review.criticals.rules import DEFAULTS as CRITICALS
from leukoweb.review.models import Report
from leukoweb.review.reports.ledger import problems_of_report
from leukoweb.sentences import translated
from tests.catalogue import all_strings, collected, compiled, folders, found, read
from tests.test_permissions import arguments, cast, routes  # noqa: F401
from tests.test_reports import AML, WBC, acknowledge, post_signature, reviewed  # noqa: F401

DOMAINS = ("django", "djangojs")
CATALOGUES = [(folder, domain) for folder in folders() for domain in DOMAINS]
NAMES = [f"{folder.parent.name}-{domain}" for folder, domain in CATALOGUES]


@pytest.fixture(autouse=True)
def _english_again():
    """A request leaves its language behind; the next test begins in English."""
    with translation.override("en"):
        yield


def messages_of(compiled_file):
    """The messages of a .mo file without its header, which names the program that wrote it."""
    return {key: text for key, text in GNUTranslations(io.BytesIO(compiled_file))._catalog.items() if key}


def test_every_language_of_the_settings_but_the_sources_own_has_a_folder():
    assert {folder.parent.name for folder in folders()} == {code for code, _ in settings.LANGUAGES} - {"en"}


@pytest.mark.parametrize(("folder", "domain"), CATALOGUES, ids=NAMES)
def test_what_the_product_reads_is_compiled_from_what_translators_write(folder, domain):
    stored, anew = ((folder / f"{domain}.mo").read_bytes(), compiled(read(folder, domain)))
    assert messages_of(stored) == messages_of(anew), "make messages"


@pytest.mark.parametrize(("folder", "domain"), CATALOGUES, ids=NAMES)
def test_a_translation_has_the_placeholders_and_tags_of_its_message(folder, domain):
    wrong = []
    for message in read(folder, domain):
        if not message.id or not all_strings(message.string):
            continue
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        parts = r"%\(\w+\)[sd]|</?\w+>|%%|\{\w*\}"
        wanted = set(re.findall(parts, ids[-1]))
        wrong += [ids[0] for string in strings[-1:] if set(re.findall(parts, string)) != wanted]
        wrong += [ids[0] for string in strings[:-1] if not set(re.findall(parts, string)) <= wanted]
    assert wrong == []


@pytest.mark.parametrize(("folder", "domain"), CATALOGUES, ids=NAMES)
def test_every_message_of_the_sources_is_translated(folder, domain):
    catalogue = read(folder, domain)
    translated_ids = {(message.id, message.context) for message in catalogue if all_strings(message.string)}
    missing = [message.id for message in collected(domain) if (message.id, message.context) not in translated_ids]
    assert [text for text in missing if text] == [], "make messages, then translate these"


def test_the_messages_of_templates_code_and_scripts_are_found():
    texts = {message for message, *_ in found("django")}
    assert {"Skip to main content", "Language saved."} <= texts
    assert ("%(counter)s account", "%(counter)s accounts") in texts


def test_the_browser_decides_until_the_person_chooses(client, technologist):
    assert b'lang="en"' in client.get(reverse("sign_in")).content
    assert (
        b'lang="de"' in client.get(reverse("sign_in"), headers={"accept-language": "de-CH,de;q=0.9,en;q=0.5"}).content
    )
    assert b'lang="en"' in client.get(reverse("sign_in"), headers={"accept-language": "tlh"}).content
    client.force_login(technologist)
    page = client.post(reverse("language"), {"language": "de"}, follow=True)
    assert b'lang="de"' in page.content
    assert "Zum Inhalt springen" in page.content.decode()
    technologist.refresh_from_db()
    assert technologist.preferences == {"language": "de"}
    assert b'lang="de"' in client.get(reverse("worklist"), headers={"accept-language": "en"}).content
    client.post(reverse("language"), {"language": ""})
    assert b'lang="en"' in client.get(reverse("worklist"), headers={"accept-language": "en"}).content


def test_a_language_that_there_is_not_is_refused(client, technologist):
    client.force_login(technologist)
    page = client.post(reverse("language"), {"language": "tlh"})
    assert page.status_code == 200
    technologist.refresh_from_db()
    assert technologist.preferences == {}


def test_the_sentences_of_the_scripts_come_in_the_language_of_the_page(client, db):
    answer = client.get(reverse("javascript_catalog"), headers={"accept-language": "de"})
    assert answer["Content-Type"].startswith("text/javascript")
    assert "private" in answer["Cache-Control"]
    assert (
        f"{reverse('javascript_catalog')}?de-"
        in client.get(reverse("sign_in"), headers={"accept-language": "de"}).content.decode()
    )


LATIN = re.compile(r"\b(the|is|are|were|with|and|not|of|has|have|been|this|your|you|from|by|to)\b")
# English on a German page, on purpose: stored words of the cast, names of programs, and what libraries say.
STAYS = re.compile(
    r"Nothing unusual|manage\.py|leukoweb |python -m|LeukoWeb|"
    r"MSH|PID|HTTP|Swagger|doi|\.org|\.com|PMC\d|ASCO|CAP survey|"
    r"Gulati|Starting value|Oxford|MedlinePlus|Labels by people|EDTA|WBC by film|Davis|Taylor|Whole-film|"
    r"not met in the blood|Letters, digits, dot|Printed at the head|Who is responsible|same person|person who verified|"
    r"cells counted of|<em>|FILM film|dieser|"
    r"starting value"
)


# Pages of what is stored, or written by people, in English: events, cards of detectors, places of phrases, rules.
SKIPPED = {"sign_out", "account_logout", "api_schema", "metrics", "javascript_catalog", "api_docs"}
SHOWS_STORED = {"audit_log", "detector_detail", "phrase_list", "critical_policy_edit", "critical_list"}


@pytest.mark.slow
@pytest.mark.parametrize("role", ["technologist", "pathologist", "admin"])
def test_every_page_is_shown_in_german_without_english_sentences(role, cast):  # noqa: F811
    """Each address of the table of permissions; what stays English is in STAYS."""
    person = cast.people[role]
    person.laboratory.language = "de"
    person.laboratory.save()
    person.preferences = {"language": "de"}
    person.save()
    client = Client(raise_request_exception=False)
    client.force_login(person)
    wrong, seen = [], 0
    for name, route, _ in routes():
        if name in SKIPPED | SHOWS_STORED:
            continue
        answer = client.get(reverse(name, kwargs=arguments(route, cast)))
        if answer.status_code >= 500 and answer.status_code != 503:
            wrong.append((name, answer.status_code))
        if answer.status_code != 200 or not answer["Content-Type"].startswith("text/html"):
            continue
        seen += 1
        page = answer.content.decode()
        assert "<html" not in page or 'lang="de"' in page, name
        text = re.sub(r"<(script|style|code|pre)\b.*?</\1>", "", page, flags=re.DOTALL)
        parts = [*re.split(r"<[^>]*>", text), *re.findall(r'(?:title|aria-label|placeholder|alt)="([^"]*)"', text)]
        wrong += [
            (name, " ".join(part.split())[:120])
            for part in map(html.unescape, parts)
            if LATIN.search(part) and not STAYS.search(part)
        ]
    assert seen > 15
    assert sorted(set(wrong)) == []


@pytest.mark.slow
def test_the_report_of_a_german_laboratory_is_german_whoever_opens_it(reviewed, sign_in, pathologist):  # noqa: F811
    laboratory = pathologist.laboratory
    laboratory.language = "de"
    laboratory.save()
    case = reviewed({**AML, "LYA": 6, "KSC": 3}, **WBC)
    client = sign_in(pathologist)
    acknowledge(client, case)
    assert post_signature(client, case, lya_meaning="abnormal").status_code == 302
    report = Report.objects.get(case=case)
    assert report.content["language"] == "de"
    assert report.content["signature"]["role"] == "Pathologist"  # what is sealed is English
    pdf = client.get(reverse("report_pdf", args=[report.pk])).content
    paper = " ".join(" ".join(sheet.extract_text() for sheet in PdfReader(io.BytesIO(pdf)).pages).split())
    for words in ("Differentialblutbild", "Myeloblast", "Segmentkernige", "Unterschrift", "Probennummer"):
        assert words in paper
    row = next(row for row in report.content["differential"]["rows"] if row["key"] == "MYO")
    assert f"{row['percent']:.1f}".replace(".", ",") in paper
    assert not LATIN.search(re.sub(r"Normal differential\.|[\w.]+\.(jpg|png)|phantom.*", "", paper))
    page = client.get(reverse("report_detail", args=[report.pk]), headers={"accept-language": "en"}).content.decode()
    assert 'lang="de"' in page
    assert problems_of_report(report) == []
    laboratory.language = "en"
    laboratory.save()
    assert "Segmentkernige" in client.get(reverse("report_detail", args=[report.pk])).content.decode()


def test_a_report_of_before_is_english_in_a_german_browser(reviewed, sign_in, pathologist):  # noqa: F811
    case, client = reviewed(**WBC), sign_in(pathologist)
    assert post_signature(client, case).status_code == 302
    report = Report.objects.get(case=case)
    assert "language" not in report.content
    page = client.get(reverse("report_detail", args=[report.pk]), headers={"accept-language": "de"}).content.decode()
    article = page[page.index('<article class="paper">') : page.index("</article>")]
    assert "segmented neutrophil" in article.lower()
    assert "Segmentkernige" not in article
    assert "Drucken" in page


def test_flags_and_limits_are_translated_with_their_figures():
    with translation.override("de"):
        assert translated("3 blasts, 2.7% of leukocytes, at or above 1%. The pathologist must review.") == (
            "3 Blasten, 2,7 % der Leukozyten, mindestens 1 %. Die Pathologie muss prüfen."
        )
        assert translated("No blasts in 1,101 cells (95% upper limit 0.27%).") == (
            "Keine Blasten in 1.101 Zellen (obere 95-%-Grenze 0,27 %)."
        )
        assert translated("What a laboratory wrote.") == "What a laboratory wrote."
    assert translated("3 blasts, 2.7% of leukocytes.") == "3 blasts, 2.7% of leukocytes."


def test_the_titles_and_choices_of_the_shipped_rules_are_translated_and_a_laboratorys_own_are_left():
    rules = Rules(release="technologist", four_eyes="never", release_needs_cbc=True)
    shipped = [row["title"] for row in (*OFFERED, *rules.suggestion_rules, *rules.flag_rules, *CRITICALS)]
    choices = [*ACTIONS.values(), *DELTA_ACTIONS.values(), *RELEASE.values(), *FOUR_EYES.values(), *BANDS.values()]
    with translation.override("de"):
        english = [words for words in (*shipped, *choices, *rules.sentences()) if translated(words) == words]
        assert translated("Ask Dr Green, always.") == "Ask Dr Green, always."
    assert english == []
