from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('analysis', '0003_slide_scale'),
    ]

    operations = [
        migrations.AddField(
            model_name='cell',
            name='chances',
            field=models.JSONField(default=list, help_text='The three best types, best first, each [code, chance of being right]; none before 1.3.'),
        ),
    ]
