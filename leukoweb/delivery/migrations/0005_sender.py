import re

from django.db import migrations, models


def name_senders(apps, schema_editor):
    """Name the sender of what came before, so that a message that is sent again is known again."""
    came = apps.get_model("delivery", "Message").objects.filter(is_incoming=True).exclude(control_id="")
    for message in came.only("raw").iterator(200):
        header = re.split(rb"[\r\n]", bytes(message.raw).removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n\x0b "))[0]
        fields = header.split(header[3:4])[2:4] if len(header) > 3 else []
        message.sender = b"|".join(fields).decode("utf-8", "replace")[:200]
        message.save(update_fields=["sender"])


class Migration(migrations.Migration):
    dependencies = [("delivery", "0004_fhir_out")]

    operations = [
        migrations.AddField(
            model_name="message",
            name="sender",
            field=models.CharField(
                blank=True, help_text="Sending application and facility (MSH-3, MSH-4).", max_length=200
            ),
        ),
        migrations.RunPython(name_senders, migrations.RunPython.noop),
    ]
