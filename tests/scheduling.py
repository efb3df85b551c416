"""Which tests one process runs, where several share the work."""

from __future__ import annotations

from xdist.scheduler.loadfile import LoadFileScheduling

# Folders whose files share one running product.
TOGETHER = ("tests/conformance/",)


class ByWhatIsStarted(LoadFileScheduling):  # type: ignore[misc]
    """
    A file at a time, or a folder: what is started for it is started once.

    Marks of ``xdist_group`` go unheard with pytest 9.2 and pytest-xdist 3.8.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)
