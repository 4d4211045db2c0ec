"""The triggers that chain the events and refuse UPDATE, DELETE and TRUNCATE.

On SQLite a later migration that alters the table rebuilds it without triggers: it must end with set_guard again.
"""

from django.db import migrations

from leukoweb.audit.chain import lift_guard, set_guard


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [migrations.RunPython(set_guard, lift_guard)]
