"""What people did with proposed phrases, append-only: the last answer to a rule holds.

Triggers of the database refuse a change (migrations/0019_suggestions.py). What is proposed is in suggestion_rules.py.
"""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class SuggestionAnswer(models.Model):
    """One answer to one proposed phrase, with the phrase as it was shown and the version of the rules."""

    class Answer(models.TextChoices):
        ACCEPTED = "accepted", _("accepted")
        EDITED = "edited", _("accepted in other words")
        REFUSED = "refused", _("refused")

    # A draft amendment that is cancelled is deleted; the answers that were given on it stay, and no longer hold.
    report = models.ForeignKey("review.Report", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    case = models.ForeignKey("cases.Case", on_delete=models.PROTECT, related_name="suggestion_answers")
    key = models.CharField(max_length=40, help_text="The row of the rules.")
    title = models.CharField(max_length=60)
    proposed = models.CharField(max_length=300)
    because = models.CharField(max_length=400)
    source = models.CharField(max_length=300)
    policy_version = models.PositiveIntegerField()
    answer = models.CharField(max_length=10, choices=Answer)
    text = models.CharField(max_length=300, blank=True, help_text="What went into the interpretation.")
    answered_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    answered_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
