"""What a browser calls itself, as short as people say it."""

from __future__ import annotations

import re
from typing import Final

from django import template
from django.utils.translation import gettext as _

register = template.Library()

# The first that is named counts: nearly all of them also name Chrome or Safari.
BROWSERS: Final = (
    (r"Edg(?:e|A|iOS)?", "Edge"),
    (r"OPR", "Opera"),
    (r"YaBrowser", "Yandex Browser"),
    (r"SamsungBrowser", "Samsung Internet"),
    (r"Firefox|FxiOS", "Firefox"),
    (r"CriOS|(?:Headless)?Chrome", "Chrome"),
    (r"Version(?=/\S+ .*Safari)", "Safari"),
)
SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


@register.filter
def browser(user_agent: str) -> str:
    """The browser with its version, and its system: ``Firefox 126, Linux``."""
    found = ((name, re.search(rf"\b(?:{pattern})/(\d+)", user_agent)) for pattern, name in BROWSERS)
    called = next((f"{name} {match[1]}" for name, match in found if match), "")
    system = next((name for part, name in SYSTEMS if part in user_agent), "")
    return ", ".join(filter(None, (called, system))) or _("an unknown program")
