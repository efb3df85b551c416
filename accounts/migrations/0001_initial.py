from __future__ import annotations

from typing import ClassVar

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import accounts.models


class Migration(migrations.Migration):
    initial = True

    dependencies: ClassVar = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="ServiceAccount",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "public_id",
                    models.CharField(
                        default=accounts.models.service_account_public_id,
                        editable=False,
                        max_length=32,
                        unique=True,
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("admin", "admin"),
                            ("developer", "developer"),
                            ("billing", "billing"),
                            ("viewer", "viewer"),
                        ],
                        max_length=16,
                    ),
                ),
                ("disabled_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
        ),
        migrations.CreateModel(
            name="User",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                (
                    "last_login",
                    models.DateTimeField(blank=True, null=True, verbose_name="last login"),
                ),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                (
                    "public_id",
                    models.CharField(
                        default=accounts.models.user_public_id,
                        editable=False,
                        max_length=32,
                        unique=True,
                    ),
                ),
                ("email", models.EmailField(max_length=254, unique=True)),
                ("name", models.CharField(blank=True, default="", max_length=150)),
                ("language", models.CharField(default="en", max_length=8)),
                ("time_zone", models.CharField(default="UTC", max_length=64)),
                ("is_staff", models.BooleanField(default=False)),
                ("is_active", models.BooleanField(default=True)),
                (
                    "date_joined",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "public_id",
                    models.CharField(
                        default=accounts.models.key_public_id,
                        editable=False,
                        max_length=32,
                        unique=True,
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("standard", "Standard"),
                            ("playground", "Playground"),
                            ("imported", "Imported"),
                        ],
                        default="standard",
                        max_length=16,
                    ),
                ),
                ("prefix", models.CharField(max_length=32)),
                ("last4", models.CharField(max_length=4)),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("pepper_id", models.CharField(max_length=32)),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), size=None
                    ),
                ),
                ("rpm", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "ips",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), blank=True, default=list, size=None
                    ),
                ),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("disabled_at", models.DateTimeField(blank=True, null=True)),
                ("deleted_at", models.DateTimeField(blank=True, null=True)),
                ("version", models.PositiveIntegerField(default=1, editable=False)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "models",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), blank=True, null=True, size=None
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "replaces",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="replaced_by",
                        to="accounts.apikey",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="api_keys",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "service_account",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="api_keys",
                        to="accounts.serviceaccount",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "public_id",
                    models.CharField(
                        default=accounts.models.membership_public_id,
                        editable=False,
                        max_length=32,
                        unique=True,
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("owner", "owner"),
                            ("admin", "admin"),
                            ("developer", "developer"),
                            ("billing", "billing"),
                            ("viewer", "viewer"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SecretFingerprint",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("pepper_id", models.CharField(max_length=32)),
                ("fingerprint", models.BinaryField(max_length=32)),
                (
                    "recorded_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="accounts_secretfingerprint_one_row"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Tier",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("slug", models.SlugField(unique=True)),
                ("name", models.CharField(max_length=100)),
                ("default_rpm", models.PositiveIntegerField()),
                ("max_rpm", models.PositiveIntegerField()),
                ("default_daily_nanos", models.BigIntegerField(blank=True, null=True)),
                ("max_daily_nanos", models.BigIntegerField(blank=True, null=True)),
                ("default_monthly_nanos", models.BigIntegerField(blank=True, null=True)),
                ("max_monthly_nanos", models.BigIntegerField(blank=True, null=True)),
                ("min_paid_nanos", models.BigIntegerField(default=0)),
                ("is_default", models.BooleanField(default=False)),
            ],
            options={
                "ordering": ["min_paid_nanos", "id"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("is_default", True)),
                        fields=("is_default",),
                        name="accounts_tier_one_default",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("default_rpm__lte", models.F("max_rpm"))),
                        name="accounts_tier_rpm_within_max",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("max_daily_nanos", None),
                            models.Q(
                                ("default_daily_nanos__isnull", False),
                                ("default_daily_nanos__lte", models.F("max_daily_nanos")),
                            ),
                            _connector="OR",
                        ),
                        name="accounts_tier_daily_within_max",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("max_monthly_nanos", None),
                            models.Q(
                                ("default_monthly_nanos__isnull", False),
                                ("default_monthly_nanos__lte", models.F("max_monthly_nanos")),
                            ),
                            _connector="OR",
                        ),
                        name="accounts_tier_monthly_within_max",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("default_daily_nanos", None),
                                ("default_daily_nanos__gte", 0),
                                _connector="OR",
                            ),
                            models.Q(
                                ("default_monthly_nanos", None),
                                ("default_monthly_nanos__gte", 0),
                                _connector="OR",
                            ),
                            ("min_paid_nanos__gte", 0),
                        ),
                        name="accounts_tier_not_negative",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Workspace",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "public_id",
                    models.CharField(
                        default=accounts.models.workspace_public_id,
                        editable=False,
                        max_length=32,
                        unique=True,
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                (
                    "external_id",
                    models.CharField(blank=True, max_length=128, null=True, unique=True),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "members",
                    models.ManyToManyField(
                        related_name="workspaces",
                        through="accounts.Membership",
                        through_fields=("workspace", "user"),
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "personal_of",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="personal_workspace",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tier",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="workspaces",
                        to="accounts.tier",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="serviceaccount",
            name="workspace",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="service_accounts",
                to="accounts.workspace",
            ),
        ),
        migrations.AddField(
            model_name="membership",
            name="workspace",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="memberships",
                to="accounts.workspace",
            ),
        ),
        migrations.CreateModel(
            name="ApiKeyWorkspace",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "key",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="key_workspaces",
                        to="accounts.apikey",
                    ),
                ),
                (
                    "workspace",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="key_workspaces",
                        to="accounts.workspace",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="apikey",
            name="workspaces",
            field=models.ManyToManyField(
                related_name="api_keys", through="accounts.ApiKeyWorkspace", to="accounts.workspace"
            ),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("email", django.db.models.functions.text.Lower("email"))),
                name="accounts_user_email_is_lower_case",
            ),
        ),
        migrations.AddConstraint(
            model_name="workspace",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("external_id", None),
                    models.Q(
                        models.Q(("external_id", ""), _negated=True),
                        models.Q(("external_id__startswith", "ws_"), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="accounts_workspace_external_id_is_not_ours",
            ),
        ),
        migrations.AddConstraint(
            model_name="serviceaccount",
            constraint=models.UniqueConstraint(
                fields=("workspace", "name"), name="accounts_serviceaccount_name_once_per_workspace"
            ),
        ),
        migrations.AddConstraint(
            model_name="serviceaccount",
            constraint=models.CheckConstraint(
                condition=models.Q(("role__in", ["admin", "developer", "billing", "viewer"])),
                name="accounts_serviceaccount_role_exists",
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.UniqueConstraint(
                fields=("workspace", "user"), name="accounts_membership_once_per_workspace"
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("role__in", ["owner", "admin", "developer", "billing", "viewer"])
                ),
                name="accounts_membership_role_exists",
            ),
        ),
        migrations.AddConstraint(
            model_name="apikeyworkspace",
            constraint=models.UniqueConstraint(
                fields=("key", "workspace"), name="accounts_apikeyworkspace_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("service_account__isnull", False), ("user", None)),
                    models.Q(("service_account", None), ("user__isnull", False)),
                    _connector="OR",
                ),
                name="accounts_apikey_exactly_one_owner",
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["standard", "playground", "imported"])),
                name="accounts_apikey_kind_exists",
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "scopes__contained_by",
                        [
                            "audit:read",
                            "billing:manage",
                            "billing:read",
                            "chat",
                            "embeddings",
                            "images",
                            "keys:manage",
                            "keys:read",
                            "members:manage",
                            "models:read",
                            "usage:read",
                            "webhooks:manage",
                        ],
                    ),
                    models.Q(("scopes", []), _negated=True),
                ),
                name="accounts_apikey_scopes_exist",
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("scopes__overlap", ["chat", "embeddings", "images"]), _negated=True),
                    models.Q(
                        (
                            "scopes__overlap",
                            [
                                "audit:read",
                                "billing:manage",
                                "keys:manage",
                                "keys:read",
                                "members:manage",
                                "webhooks:manage",
                            ],
                        ),
                        _negated=True,
                    ),
                    _connector="OR",
                ),
                name="accounts_apikey_inference_or_management",
            ),
        ),
    ]
