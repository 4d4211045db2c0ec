"""Two receipts of an urgent flag, the bench's and the pathologist's; smudge cells as the signer's choice for one report."""

from importlib import import_module

from django.db import migrations, models

guard = import_module("leukoweb.review.migrations.0004_report_guard")
lift_guard, set_guard = guard.lift_guard, guard.set_guard


def name_receipts(apps, schema_editor):
    """Call what pathologists have acknowledged their receipt."""
    acknowledgements = apps.get_model("review", "Acknowledgement").objects
    acknowledgements.filter(acknowledged_by__role="pathologist").update(receipt="pathologist")


class Migration(migrations.Migration):
    dependencies = [("review", "0008_withdrawal")]
    operations = [
        migrations.RunPython(lift_guard, set_guard),
        migrations.AddField(
            model_name="acknowledgement",
            name="receipt",
            field=models.CharField(
                choices=[("bench", "bench"), ("pathologist", "pathologist")], default="bench", max_length=12
            ),
            preserve_default=False,
        ),
        migrations.RunPython(name_receipts, migrations.RunPython.noop),
        migrations.RemoveConstraint(model_name="acknowledgement", name="flag_acknowledged_once_per_case"),
        migrations.AddConstraint(
            model_name="acknowledgement",
            constraint=models.UniqueConstraint(
                fields=("case", "flag", "receipt"), name="one_receipt_of_each_kind_per_flag"
            ),
        ),
        migrations.AddField(
            model_name="report",
            name="smudge_as_lymphocytes",
            field=models.BooleanField(default=False, help_text="For this report only, with a reason (C5)."),
        ),
        migrations.AddField(
            model_name="report", name="smudge_reason", field=models.TextField(blank=True, default=""),
            preserve_default=False,
        ),
        migrations.RunPython(set_guard, lift_guard),
    ]
