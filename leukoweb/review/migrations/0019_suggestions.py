"""Answers to proposed phrases, with the triggers that refuse UPDATE and DELETE; the SQL is frozen here.

On SQLite a later migration that alters the table rebuilds it without triggers: it must begin with lift_guard and end
with set_guard.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import connection, migrations, models

TABLE = "review_suggestionanswer"
REFUSAL = "answers to proposed phrases are append-only"


def set_guard(apps=None, schema_editor=None):
    """Create the triggers."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "CREATE FUNCTION review_suggestion_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
                f"BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$"
            )
            cursor.execute(
                f"CREATE TRIGGER {TABLE}_no_change BEFORE UPDATE OR DELETE ON {TABLE} "
                "FOR EACH ROW EXECUTE FUNCTION review_suggestion_refuse()"
            )
            return
        for act in ("update", "delete"):
            cursor.execute(
                f"CREATE TRIGGER {TABLE}_no_{act} BEFORE {act} ON {TABLE} BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
            )


def lift_guard(apps=None, schema_editor=None):
    """Drop the triggers: only when the migration is taken back."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("DROP FUNCTION review_suggestion_refuse() CASCADE")
            return
        for act in ("update", "delete"):
            cursor.execute(f"DROP TRIGGER {TABLE}_no_{act}")


class Migration(migrations.Migration):
    dependencies = [
        ("cases", "0017_two_persons"),
        ("review", "0018_size"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.CreateModel(
            name="SuggestionAnswer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(help_text="The row of the rules.", max_length=40)),
                ("title", models.CharField(max_length=60)),
                ("proposed", models.CharField(max_length=300)),
                ("because", models.CharField(max_length=400)),
                ("source", models.CharField(max_length=300)),
                ("policy_version", models.PositiveIntegerField()),
                (
                    "answer",
                    models.CharField(
                        choices=[
                            ("accepted", "accepted"),
                            ("edited", "accepted in other words"),
                            ("refused", "refused"),
                        ],
                        max_length=10,
                    ),
                ),
                ("text", models.CharField(blank=True, help_text="What went into the interpretation.", max_length=300)),
                ("answered_at", models.DateTimeField(auto_now_add=True)),
                (
                    "answered_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "case",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="suggestion_answers",
                        to="cases.case",
                    ),
                ),
                (
                    "report",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="review.report",
                    ),
                ),
            ],
            options={"ordering": ["id"]},
        ),
        migrations.RunPython(set_guard, lift_guard),
    ]
