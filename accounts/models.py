"""Tables of people, workspaces and keys. Rules that span rows live in accounts/sql."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from accounts import scopes
from accounts.models_approval import Approval, SoleDecision
from accounts.models_audit import AuditEvent
from accounts.models_consent import Consent
from accounts.models_impersonation import Impersonation
from accounts.models_invitation import Invitation
from accounts.models_kept import KeptAnswer
from accounts.models_tier import Tier
from accounts.models_webhook import WebhookDelivery, WebhookEndpoint, WebhookEvent
from common import ids

# Plain strings, so that migrations do not have to import our enums.
ROLES = [str(role) for role in scopes.Role]
SERVICE_ROLES = [str(role) for role in scopes.SERVICE_ROLES]
ALL_SCOPES = sorted(str(scope) for scope in scopes.ALL)
INFERENCE_SCOPES = sorted(str(scope) for scope in scopes.INFERENCE)
MANAGEMENT_SCOPES = sorted(str(scope) for scope in scopes.MANAGEMENT)
MOST_PROMPT_DAYS = 30


def user_public_id() -> str:
    """A new id of the form usr_…"""
    return ids.public("usr")


def workspace_public_id() -> str:
    """A new id of the form ws_…"""
    return ids.public("ws")


def membership_public_id() -> str:
    """A new id of the form mem_…"""
    return ids.public("mem")


def service_account_public_id() -> str:
    """A new id of the form sa_…"""
    return ids.public("sa")


def key_public_id() -> str:
    """A new id of the form key_…"""
    return ids.public("key")


class UserManager(BaseUserManager["User"]):
    """Makes people who sign in with an email address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A person who can sign in; without a password only by other means.

        :raises ValueError: the address is empty
        """
        if not email:
            raise ValueError("A user needs an email address.")
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A person who may use the whole admin site.

        :raises ValueError: the address is empty
        """
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        """The person with this address, however it is capitalised."""
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person. The email address is the login and is stored in lower case."""

    public_id = models.CharField(max_length=32, unique=True, default=user_public_id, editable=False)
    email = models.EmailField(max_length=254, unique=True)
    name = models.CharField(max_length=150, blank=True, default="")
    language = models.CharField(max_length=8, default="en")
    time_zone = models.CharField(max_length=64, default="UTC")
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(email=Lower("email")), name="accounts_user_email_is_lower_case"
            ),
        ]

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        """The name, or the address of someone who gave none."""
        return self.name or self.email

    def get_short_name(self) -> str:
        """The name, or the part of the address before the @."""
        return self.name or self.email.partition("@")[0]


class Workspace(models.Model):
    """What money, caps, tier and spending belong to."""

    public_id = models.CharField(
        max_length=32, unique=True, default=workspace_public_id, editable=False
    )
    name = models.CharField(max_length=100)
    external_id = models.CharField(max_length=128, unique=True, null=True, blank=True)
    tier = models.ForeignKey(Tier, on_delete=models.PROTECT, related_name="workspaces")
    personal_of = models.OneToOneField(
        User,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="personal_workspace",
    )
    members = models.ManyToManyField(
        User, through="Membership", through_fields=("workspace", "user"), related_name="workspaces"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    closed_at = models.DateTimeField(null=True, blank=True)
    # Whether words of prompts and answers are kept, and for how long (proxy.PromptLog).
    prompt_logging = models.BooleanField(default=False, db_default=False)
    prompt_days = models.PositiveSmallIntegerField(default=7, db_default=7)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(prompt_days__range=(1, MOST_PROMPT_DAYS)),
                name="accounts_workspace_prompt_days",
            ),
            # Both forms are accepted in one header, so neither may be mistaken for the other.
            models.CheckConstraint(
                condition=Q(external_id=None)
                | (~Q(external_id="") & ~Q(external_id__startswith="ws_")),
                name="accounts_workspace_external_id_is_not_ours",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """The role of one person in one workspace."""

    public_id = models.CharField(
        max_length=32, unique=True, default=membership_public_id, editable=False
    )
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=16, choices=[(role, role) for role in ROLES])
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "user"], name="accounts_membership_once_per_workspace"
            ),
            models.CheckConstraint(
                condition=Q(role__in=ROLES),
                name="accounts_membership_role_exists",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} #{self.user_id} of workspace #{self.workspace_id}"


class ServiceAccount(models.Model):
    """A user of one workspace that is not a person; its keys outlive its makers."""

    public_id = models.CharField(
        max_length=32, unique=True, default=service_account_public_id, editable=False
    )
    workspace = models.ForeignKey(
        Workspace, on_delete=models.PROTECT, related_name="service_accounts"
    )
    name = models.CharField(max_length=100)
    role = models.CharField(max_length=16, choices=[(role, role) for role in SERVICE_ROLES])
    disabled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "name"], name="accounts_serviceaccount_name_once_per_workspace"
            ),
            models.CheckConstraint(
                condition=Q(role__in=SERVICE_ROLES),
                name="accounts_serviceaccount_role_exists",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A secret's digest and what it opens. Who reads `version` knows whether a copy is stale."""

    class Kind(models.TextChoices):
        """How a key came to be."""

        STANDARD = "standard"
        PLAYGROUND = "playground"
        IMPORTED = "imported"

    public_id = models.CharField(max_length=32, unique=True, default=key_public_id, editable=False)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.STANDARD)
    prefix = models.CharField(max_length=32)
    last4 = models.CharField(max_length=4)
    digest = models.BinaryField(max_length=32, unique=True)
    pepper_id = models.CharField(max_length=32)
    user = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="api_keys"
    )
    service_account = models.ForeignKey(
        ServiceAccount, on_delete=models.PROTECT, null=True, blank=True, related_name="api_keys"
    )
    scopes = ArrayField(models.TextField())
    rpm = models.PositiveIntegerField(null=True, blank=True)
    tpm = models.PositiveIntegerField(null=True, blank=True)
    max_streams = models.PositiveIntegerField(null=True, blank=True)
    # False: of its calls no words are kept, whatever its workspaces choose.
    prompt_logging = models.BooleanField(default=True, db_default=True)
    ips = ArrayField(models.TextField(), default=list, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    # True: nobody but staff enables it again.
    disabled_by_staff = models.BooleanField(default=False, db_default=False)
    deleted_at = models.DateTimeField(null=True, blank=True)
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    replaces = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaced_by"
    )
    workspaces = models.ManyToManyField(
        Workspace, through="ApiKeyWorkspace", related_name="api_keys"
    )
    # Last, because from here on the name hides the module in this class body.
    models = ArrayField(models.TextField(), null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(user=None, service_account__isnull=False)
                | Q(user__isnull=False, service_account=None),
                name="accounts_apikey_exactly_one_owner",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["standard", "playground", "imported"]),
                name="accounts_apikey_kind_exists",
            ),
            models.CheckConstraint(
                condition=Q(scopes__contained_by=ALL_SCOPES) & ~Q(scopes=[]),
                name="accounts_apikey_scopes_exist",
            ),
            models.CheckConstraint(
                condition=~Q(scopes__overlap=INFERENCE_SCOPES)
                | ~Q(scopes__overlap=MANAGEMENT_SCOPES),
                name="accounts_apikey_inference_or_management",
            ),
            models.CheckConstraint(
                condition=Q(disabled_by_staff=False) | Q(disabled_at__isnull=False),
                name="accounts_apikey_staff_disabled",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…{self.last4})"

    @property
    def owner(self) -> User | ServiceAccount:
        """The person or service account whose rights the key uses."""
        if self.service_account is not None:
            return self.service_account
        # The database allows exactly one owner.
        return cast("User", self.user)

    @property
    def hint(self) -> str:
        """What may be shown of the secret after it was shown once."""
        return f"{self.prefix}…{self.last4}"


class ApiKeyWorkspace(models.Model):
    """A workspace that a key may spend from and read."""

    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="key_workspaces")
    workspace = models.ForeignKey(
        Workspace, on_delete=models.PROTECT, related_name="key_workspaces", db_index=False
    )

    class Meta:
        # Pages of a workspace's keys are read along it, the newest first.
        indexes: ClassVar = [
            models.Index(fields=["workspace", "-key"], name="accounts_apikeyworkspace_page"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["key", "workspace"], name="accounts_apikeyworkspace_once"
            ),
        ]

    def __str__(self) -> str:
        return f"key #{self.key_id} in workspace #{self.workspace_id}"


class SecretFingerprint(models.Model):
    """The pepper that this database's keys were made with, as a digest. One row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    pepper_id = models.CharField(max_length=32)
    fingerprint = models.BinaryField(max_length=32)
    recorded_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(id=1), name="accounts_secretfingerprint_one_row"),
        ]

    def __str__(self) -> str:
        return f"pepper {self.pepper_id}"


__all__ = [
    "ApiKey",
    "ApiKeyWorkspace",
    "Approval",
    "AuditEvent",
    "Consent",
    "Impersonation",
    "Invitation",
    "KeptAnswer",
    "Membership",
    "SecretFingerprint",
    "ServiceAccount",
    "SoleDecision",
    "Tier",
    "User",
    "UserManager",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEvent",
    "Workspace",
]
