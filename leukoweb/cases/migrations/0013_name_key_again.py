from django.db import migrations

from leukoweb.cases.identity import name_key


def fill_keys(apps, schema_editor):
    """Write the key of each name anew where further spellings became one."""
    for patient in apps.get_model("cases", "Patient").objects.iterator():
        if patient.name_key != (key := name_key(patient.name)[:400]):
            patient.name_key = key
            patient.save(update_fields=["name_key"])


class Migration(migrations.Migration):

    dependencies = [("cases", "0012_demonstration")]

    operations = [migrations.RunPython(fill_keys, migrations.RunPython.noop)]
