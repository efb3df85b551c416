"""Packages of tokens, and conversions of one asset into another."""

from __future__ import annotations

import django.core.validators
import django.db.models.functions.datetime
from django.db import migrations, models

import billing.fields
from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0007_rollups"),
    ]

    operations = [
        migrations.CreateModel(
            name="Conversion",
            fields=[
                ("source", models.UUIDField(primary_key=True, serialize=False)),
                ("amount", billing.fields.UnitsField()),
                ("numerator", billing.fields.UnitsField()),
                ("denominator", billing.fields.UnitsField()),
                ("spread_ppm", models.IntegerField()),
                ("gross", billing.fields.UnitsField()),
                ("spread", billing.fields.UnitsField()),
                ("rate_source", models.TextField()),
                ("rate_at", models.DateTimeField()),
                ("at", models.DateTimeField()),
            ],
            options={
                "db_table": "billing_conversion",
                "ordering": ["-at"],
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="TokenPackage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("slug", models.SlugField(unique=True)),
                ("name", models.CharField(max_length=80)),
                (
                    "tokens",
                    models.BigIntegerField(
                        validators=[django.core.validators.MinValueValidator(1)]
                    ),
                ),
                (
                    "price_nanos",
                    models.BigIntegerField(
                        validators=[django.core.validators.MinValueValidator(1)],
                        help_text="In billionths of a US dollar: 1 USD is 1000000000.",
                    ),
                ),
                (
                    "bonus_tokens",
                    models.BigIntegerField(
                        default=0, validators=[django.core.validators.MinValueValidator(0)]
                    ),
                ),
                (
                    "bonus_days",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Days until the bonus expires; empty: never.",
                        null=True,
                    ),
                ),
                ("enabled", models.BooleanField(default=True)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
            ],
            options={
                "ordering": ["price_nanos", "slug"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("bonus_tokens__gte", 0), ("price_nanos__gt", 0), ("tokens__gt", 0)
                        ),
                        name="billing_tokenpackage_positive",
                    )
                ],
            },
        ),
        run_sql("billing", "conversion"),
        run_sql("billing", "convert"),
    ]
