"""How values look on pages: exact money, UTC times, counts, in the reader's language."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

from django import template
from django.utils.formats import date_format, get_format
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from common import markdown, money

register = template.Library()


@register.filter
def usd(nanos: int) -> str:
    """Dollars with two decimals and thousands apart, for balances and caps."""
    return grouped(money.usd(nanos, digits=2))


@register.filter
def spent_usd(nanos: int) -> str:
    """Dollars to the nearest cent, for what was spent: a balance alone is rounded down."""
    return usd(nanos + money.NANOS_PER_USD // 200)


@register.filter
def limit_usd(nanos: int) -> str:
    """Dollars with two decimals, more where a limit is not in whole cents."""
    return grouped(money.usd(nanos, at_least=2))


@register.filter
def exact_usd(nanos: int, digits: int = 6) -> str:
    """Dollars to the last nano-dollar, with at least the decimals that its column has."""
    return grouped(money.usd(nanos, at_least=digits))


@register.filter
def decimals(number: str) -> int:
    """How many decimals a written number has."""
    return len(number.partition(".")[2])


@register.filter
def dollars(amount: str) -> str:
    """A written amount with the dollar sign where the reader looks for it."""
    sign, number = ("-", amount[1:]) if amount.startswith("-") else ("", amount)
    return sign + _("$%(number)s") % {"number": number}


@register.filter
def decimal(number: str) -> str:
    """An exact number, all its digits as they are, with the reader's decimal sign."""
    return str(number).replace(".", str(get_format("DECIMAL_SEPARATOR")))


@register.filter
def grouped(number: int | str) -> str:
    """A whole or decimal number with its thousands apart."""
    whole, point, part = str(number).partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    thousands = f"{int(digits):,}"
    # Pages have hundreds of short numbers: formats are looked up for those alone that need them.
    if "," in thousands:
        thousands = thousands.replace(",", str(get_format("THOUSAND_SEPARATOR")))
    return f"{sign}{thousands}{decimal(point) if point else ''}{part}"


@register.filter
def breakable(name: str) -> SafeString:
    """A name that breaks between its parts where the line ends, rather than within one."""
    return mark_safe(markdown.JOINT.sub("<wbr>", conditional_escape(name)))  # noqa: S308 - escaped


@register.filter
def indented(body: str) -> str:
    """JSON of one line, a line for each of its values; what is no JSON stays as it is."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body


@register.filter
def ms(number: int) -> str:
    """How long something took, in thousandths of a second."""
    return _("%(number)s ms") % {"number": grouped(number)}


@register.filter
def utc(moment: datetime) -> str:
    """A time on the clock of Greenwich, whatever the server's own zone is."""
    moment = moment.astimezone(UTC)
    return f"{day(moment)} {moment:%H:%M:%S}"


@register.filter
def day(moment: date | str) -> str:
    """A date, or one written as 2030-01-31, in figures that line up in a column."""
    if isinstance(moment, str):
        moment = date.fromisoformat(moment)
    # A pattern of strftime, like 31.01.2030 in German; English pages show 2030-01-31.
    return moment.strftime(get_format("DATE_INPUT_FORMATS")[0])


@register.filter
def month(text: str) -> str:
    """A month that is written as 2030-01, with its name as it stands within a sentence."""
    name = date_format(date.fromisoformat(f"{text[:7]}-01"), "F Y")
    return name.lower() if get_language() == "ru" else name


@register.filter
def moment(text: str) -> datetime:
    """A time that was written down for machines."""
    return datetime.fromisoformat(text)


@register.filter
def iso(moment: datetime) -> str:
    """A time for machines, in a <time> element."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


@register.filter
def percent(share: float) -> str:
    """A share between 0 and 1 as a percentage with one decimal."""
    return _("%(number)s%%") % {"number": decimal(f"{share * 100:.1f}")}
