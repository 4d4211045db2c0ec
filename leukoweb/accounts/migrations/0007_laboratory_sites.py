import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_laboratory_language")]
    operations = [
        migrations.AddField(
            model_name="laboratory",
            name="time_zone",
            field=models.CharField(
                blank=True, help_text="Empty: that of the installation.", max_length=64, verbose_name="time zone"
            ),
        ),
        migrations.CreateModel(
            name="Logo",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sha256", models.CharField(db_index=True, max_length=64)),
                ("png", models.BinaryField()),
                ("text", models.CharField(help_text="Read where it is not seen.", max_length=200)),
                ("added_at", models.DateTimeField(auto_now_add=True)),
                (
                    "added_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "laboratory",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="logos", to="accounts.laboratory"
                    ),
                ),
            ],
            options={"ordering": ["-id"]},
        ),
    ]
