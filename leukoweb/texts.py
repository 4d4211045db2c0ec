"""How long the texts are that people write: one limit of reasons, one sentence for what is longer."""

from django.utils.translation import gettext, gettext_noop

from leukoweb.numbers import number
from leukoweb.refusals import Refused

MOST_REASON = 1000
FIELDS = (gettext_noop("comment"), gettext_noop("interpretation"), gettext_noop("note"), gettext_noop("reason"))


def checked_reason(reason: str, ask: str = "") -> str:
    """Return a reason without blanks around it; refuse one that is too long or, where `ask` is a sentence, absent."""
    reason = reason.strip()
    if ask and not reason:
        raise Refused(ask, "reason")
    return within(reason, MOST_REASON, "reason")


def within(text: str, most: int, field: str) -> str:
    """Return a text that is not longer than allowed; what is refused is kept nowhere. `field` is one of FIELDS."""
    if len(text) > most:
        raise Refused(
            gettext("The %(field)s has %(count)s characters: write at most %(most)s.")
            % {"field": gettext(field), "count": number(len(text), ","), "most": number(most, ",")},
            field,
        )
    return text
