"""``make messages``: bring the catalogues up to date and compile them; say what is untranslated."""

from __future__ import annotations

import sys

from tests.i18n import catalogues


def main() -> int:
    """Write every catalogue; return how many texts have no translation."""
    words = catalogues.template()
    open_ = 0
    for language in (*catalogues.LANGUAGES, catalogues.ENGLISH):
        asked = catalogues.renamed() if language == catalogues.ENGLISH else words
        catalogue = catalogues.updated(language, asked)
        path = catalogues.po_path(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(catalogues.po(catalogue))
        catalogues.mo_path(language).write_bytes(catalogues.mo(catalogue))
        without = [m for m in catalogue if m.id and not catalogues.is_whole(m)]
        open_ += len(without)
        sys.stdout.write(f"{language}: {len(catalogue)} texts, {len(without)} to translate\n")
        for message in without:
            sys.stdout.write(f"  {message.id!r}\n")
    return 1 if open_ else 0


if __name__ == "__main__":
    sys.exit(main())
