from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("review", "0019_suggestions")]
    operations = [
        migrations.AddField(
            model_name="finding",
            name="pictures",
            field=models.JSONField(blank=True, default=list, help_text="[image, x1, y1, x2, y2] in px of each."),
        ),
    ]
