"""The languages of the pages: who decides, and that every shipped language is whole."""

import io
import re
from gettext import GNUTranslations

import pytest
from django.conf import settings
from django.urls import reverse

from tests.catalogue import all_strings, compiled, folders, found, read

DOMAINS = ("django", "djangojs")
CATALOGUES = [(folder, domain) for folder in folders() for domain in DOMAINS]
NAMES = [f"{folder.parent.name}-{domain}" for folder, domain in CATALOGUES]


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
