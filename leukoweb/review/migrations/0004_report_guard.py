"""The triggers that refuse changes of signed reports.

On SQLite a later migration that alters the table rebuilds it without triggers: it must end with set_guard again.
"""

from django.db import migrations

from leukoweb.review.reports.guard import lift_guard, set_guard


class Migration(migrations.Migration):
    dependencies = [("review", "0003_report_pictures_sequence")]
    operations = [migrations.RunPython(set_guard, lift_guard)]
