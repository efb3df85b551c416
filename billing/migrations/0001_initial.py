from __future__ import annotations

import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import billing.fields
from billing import partitions
from common.sqlfiles import run_sql


def make_months(apps, schema_editor):
    partitions.make_months(tables=["billing_usage"], using=schema_editor.connection)


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0003_default_tier"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Transfer",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("kind", models.TextField()),
                ("source", models.UUIDField()),
                ("asset", models.TextField()),
                ("amount", billing.fields.UnitsField()),
                ("reference", models.TextField()),
                ("reason", models.TextField()),
                ("at", models.DateTimeField()),
            ],
            options={
                "db_table": "billing_transfer",
                "ordering": ["-id"],
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="Usage",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("day", models.DateField()),
                ("asset", models.TextField()),
                ("unit_nanos", models.BigIntegerField()),
                ("hold", models.BigIntegerField()),
                ("granted", models.BigIntegerField()),
                ("charged", models.BigIntegerField()),
                ("uncollected", models.BigIntegerField()),
                ("cost", models.BigIntegerField()),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("settled", "Settled"),
                            ("voided", "Voided"),
                            ("expired", "Expired"),
                            ("late", "Late"),
                        ]
                    ),
                ),
                ("unknown", models.BooleanField()),
                (
                    "source",
                    models.TextField(
                        choices=[
                            ("provider", "Provider"),
                            ("lookup", "Lookup"),
                            ("checkpoint", "Checkpoint"),
                            ("count", "Count"),
                            ("none", "None"),
                        ]
                    ),
                ),
                ("model", models.TextField()),
                ("served", models.TextField()),
                ("provider", models.TextField()),
                ("surface", models.TextField()),
                ("stream", models.BooleanField()),
                ("cancelled", models.BooleanField()),
                ("status", models.SmallIntegerField(null=True)),
                ("reason", models.TextField()),
                ("input_tokens", models.BigIntegerField()),
                ("cached_tokens", models.BigIntegerField()),
                ("cache_write_tokens", models.BigIntegerField()),
                ("output_tokens", models.BigIntegerField()),
                ("reasoning_tokens", models.BigIntegerField()),
                ("pictures", models.BigIntegerField()),
                ("picture_size", models.TextField()),
                ("picture_quality", models.TextField()),
                ("searches", models.BigIntegerField()),
                ("created_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField()),
                ("first_byte_ms", models.IntegerField(null=True)),
                ("latency_ms", models.IntegerField(null=True)),
                ("upstream_cost", models.BigIntegerField()),
            ],
            options={
                "verbose_name_plural": "usage",
                "db_table": "billing_usage",
                "ordering": ["-id"],
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="KeyMeter",
            fields=[
                (
                    "key",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="meter",
                        serialize=False,
                        to="accounts.apikey",
                    ),
                ),
                ("day", models.DateField(db_default="1970-01-01")),
                ("day_used", models.BigIntegerField(db_default=0)),
                ("month_used", models.BigIntegerField(db_default=0)),
                ("held", models.BigIntegerField(db_default=0)),
                ("day_cap", models.BigIntegerField(null=True)),
                ("month_cap", models.BigIntegerField(null=True)),
                ("last_used_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["key_id"],
            },
        ),
        migrations.CreateModel(
            name="Account",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("kind", models.CharField(max_length=64)),
                ("asset", models.CharField(max_length=64)),
                ("bounded", models.BooleanField(db_default=False)),
                ("credits_posted", models.BigIntegerField(db_default=0)),
                ("debits_posted", models.BigIntegerField(db_default=0)),
                ("debits_pending", models.BigIntegerField(db_default=0)),
                ("floor", models.BigIntegerField(db_default=0)),
                ("frozen", models.BooleanField(db_default=False)),
                ("day", models.DateField(db_default="1970-01-01")),
                ("day_used", models.BigIntegerField(db_default=0)),
                ("month_used", models.BigIntegerField(db_default=0)),
                ("held", models.BigIntegerField(db_default=0)),
                ("day_cap", models.BigIntegerField(null=True)),
                ("month_cap", models.BigIntegerField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "granted",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="home",
                        to="billing.account",
                    ),
                ),
                (
                    "workspace",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="accounts",
                        to="accounts.workspace",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Hold",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("account_id", models.BigIntegerField()),
                ("usd_account_id", models.BigIntegerField()),
                ("workspace_id", models.BigIntegerField()),
                ("key_id", models.BigIntegerField()),
                ("asset", models.CharField(max_length=64)),
                ("amount", models.BigIntegerField()),
                ("granted", models.BigIntegerField(db_default=0)),
                ("unit_nanos", models.BigIntegerField()),
                ("day", models.DateField()),
                ("process_id", models.BigIntegerField()),
                ("model", models.TextField()),
                ("price_id", models.BigIntegerField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "ordering": ["id"],
                "indexes": [
                    models.Index(fields=["expires_at"], name="billing_hold_expires_at"),
                    models.Index(fields=["process_id"], name="billing_hold_process"),
                ],
            },
        ),
        migrations.CreateModel(
            name="LedgerCheckpoint",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("through", models.BigIntegerField()),
                ("debits", billing.fields.UnitsField()),
                ("credits", billing.fields.UnitsField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.account",
                    ),
                ),
            ],
            options={
                "ordering": ["-through", "account"],
            },
        ),
        migrations.CreateModel(
            name="Lot",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("amount", models.BigIntegerField()),
                ("consumed", models.BigIntegerField(db_default=0)),
                ("expired", models.BigIntegerField(db_default=0)),
                ("expires_at", models.DateTimeField(null=True)),
                ("reason", models.TextField()),
                ("source", models.UUIDField(unique=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="lots",
                        to="billing.account",
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Price",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("subject", models.TextField()),
                (
                    "role",
                    models.CharField(
                        choices=[("retail", "Retail"), ("cost", "Cost")], max_length=8
                    ),
                ),
                ("effective_from", models.DateTimeField()),
                ("prompt", models.BigIntegerField(db_default=0)),
                ("completion", models.BigIntegerField(db_default=0)),
                ("cached_prompt", models.BigIntegerField(null=True)),
                ("cache_write", models.BigIntegerField(null=True)),
                ("per_call", models.BigIntegerField(null=True)),
                ("web_search", models.BigIntegerField(null=True)),
                ("image", models.JSONField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "ordering": ["subject", "role", "-effective_from"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("subject", "role", "effective_from"), name="billing_price_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("role__in", ["retail", "cost"])),
                        name="billing_price_role_exists",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("completion__gte", 0),
                            ("prompt__gte", 0),
                            models.Q(
                                ("cached_prompt", None), ("cached_prompt__gte", 0), _connector="OR"
                            ),
                            models.Q(
                                ("cache_write", None), ("cache_write__gte", 0), _connector="OR"
                            ),
                            models.Q(("per_call", None), ("per_call__gte", 0), _connector="OR"),
                            models.Q(("web_search", None), ("web_search__gte", 0), _connector="OR"),
                        ),
                        name="billing_price_not_negative",
                    ),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.UniqueConstraint(
                fields=("id", "asset"), name="billing_account_id_asset"
            ),
        ),
        migrations.AddConstraint(
            model_name="account",
            constraint=models.UniqueConstraint(
                fields=("workspace", "kind", "asset"),
                name="billing_account_once",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="ledgercheckpoint",
            constraint=models.UniqueConstraint(
                fields=("through", "account"), name="billing_ledgercheckpoint_once"
            ),
        ),
        migrations.AddIndex(
            model_name="lot",
            index=models.Index(
                condition=models.Q(
                    (
                        "amount__gt",
                        django.db.models.expressions.CombinedExpression(
                            models.F("consumed"), "+", models.F("expired")
                        ),
                    )
                ),
                fields=["expires_at"],
                name="billing_lot_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="lot",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount__gt", 0),
                    (
                        "amount__gte",
                        django.db.models.expressions.CombinedExpression(
                            models.F("consumed"), "+", models.F("expired")
                        ),
                    ),
                    ("consumed__gte", 0),
                    ("expired__gte", 0),
                ),
                name="billing_lot_within_amount",
            ),
        ),
        run_sql("billing", "tables"),
        migrations.RunPython(make_months, migrations.RunPython.noop),
    ]
