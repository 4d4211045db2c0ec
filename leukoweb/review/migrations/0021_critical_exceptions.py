from importlib import import_module

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

guard = import_module("leukoweb.review.migrations.0013_critical_guard")


class Migration(migrations.Migration):
    dependencies = [
        ("cases", "0018_size"),
        ("review", "0020_finding_pictures"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(guard.lift_guard, guard.set_guard),
        migrations.CreateModel(
            name="CriticalException",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("limits", models.JSONField(help_text="Keys of rows of the rules to their titles.")),
                ("reason", models.TextField(max_length=1000)),
                ("until", models.DateField(help_text="The last day, by the laboratory's calendar.")),
                ("set_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("ended_at", models.DateTimeField(null=True)),
                ("end_reason", models.TextField(blank=True, max_length=1000)),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.RemoveConstraint(
            model_name="criticalentry",
            name="critical_entry_once",
        ),
        migrations.AddField(
            model_name="criticalpolicy",
            name="exception_days",
            field=models.PositiveIntegerField(
                default=90,
                validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(366)],
            ),
        ),
        migrations.AlterField(
            model_name="criticalentry",
            name="kind",
            field=models.CharField(
                choices=[
                    ("bench", "seen at the bench"),
                    ("pathologist", "seen by a pathologist"),
                    ("call", "call"),
                    ("closed", "closed"),
                    ("no_longer", "no longer critical"),
                    ("escalated", "escalated"),
                    ("covered", "covered by an exception"),
                ],
                max_length=12,
            ),
        ),
        migrations.AddField(
            model_name="criticalexception",
            name="ended_by",
            field=models.ForeignKey(
                help_text="None: its day came.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="criticalexception",
            name="patient",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="critical_exceptions", to="cases.patient"
            ),
        ),
        migrations.AddField(
            model_name="criticalexception",
            name="set_by",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="criticalentry",
            name="exception",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="entries",
                to="review.criticalexception",
            ),
        ),
        migrations.AddConstraint(
            model_name="criticalentry",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind__in", ["bench", "pathologist", "closed", "no_longer", "covered"])),
                fields=("critical", "kind"),
                name="critical_entry_once",
            ),
        ),
        migrations.RunPython(guard.set_guard, guard.lift_guard),
    ]
