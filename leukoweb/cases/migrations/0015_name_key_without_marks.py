from django.db import migrations

from leukoweb.cases.identity import search_key


def fill_keys(apps, schema_editor):
    """Write the key of each name anew, without accents and tones."""
    for patient in apps.get_model("cases", "Patient").objects.iterator():
        if patient.name_key != (key := search_key(patient.name)[:400]):
            patient.name_key = key
            patient.save(update_fields=["name_key"])


class Migration(migrations.Migration):

    dependencies = [("cases", "0014_case_glance")]

    operations = [migrations.RunPython(fill_keys, migrations.RunPython.noop)]
