"""
Times in the admin site, which speaks English: to the second and by 24 hours, as in logs.

Pages of the dashboard say themselves how they write a time.
"""

from __future__ import annotations

from typing import Final

DATE_FORMAT: Final = "Y-m-d"
DATETIME_FORMAT: Final = "Y-m-d H:i:s"
TIME_FORMAT: Final = "H:i:s"
