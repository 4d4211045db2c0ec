"""A glance at the cells of each case, stored beside its flags; what is stored of each case is worked out anew."""

from django.db import migrations, models


def forget(apps, schema_editor):
    """Let the worker work out the flags of open cases again: it stores the glance with them."""
    apps.get_model("cases", "Case").objects.update(flag_level=None)


class Migration(migrations.Migration):
    dependencies = [("cases", "0013_name_key_again")]
    operations = [
        migrations.AddField(
            model_name="case",
            name="glance",
            field=models.JSONField(
                default=dict, editable=False, help_text="Of its cells, for the worklist: see urgency.py."
            ),
        ),
        migrations.RunPython(forget, migrations.RunPython.noop),
    ]
