"""The interpretation of a report: one line that is printed first."""

from importlib import import_module

from django.db import migrations, models

guard = import_module("leukoweb.review.migrations.0004_report_guard")
lift_guard, set_guard = guard.lift_guard, guard.set_guard


class Migration(migrations.Migration):
    dependencies = [("review", "0013_critical_guard")]
    operations = [
        migrations.RunPython(lift_guard, set_guard),
        migrations.AddField(
            model_name="report",
            name="interpretation",
            field=models.CharField(blank=True, default="", help_text="One line, printed first.", max_length=300),
            preserve_default=False,
        ),
        migrations.RunPython(set_guard, lift_guard),
    ]
