"""How readers are addressed, and that one thing has one name in each language."""

from __future__ import annotations

import pytest

from tests.i18n import catalogues, glossary, test_catalogues


class TestFlaw:
    @pytest.mark.parametrize("language", catalogues.LANGUAGES)
    def test_nothing_of_ours_has_one(self, language: str) -> None:
        wrong = {
            text: told
            for message in test_catalogues.messages(language)
            for text in test_catalogues.texts(message.string)
            if (told := glossary.flaw(text, language=language))
        }

        assert wrong == {}

    @pytest.mark.parametrize(
        ("language", "text"),
        [
            ("de", "Hast du schon ein Konto?"),
            ("de", "Dein Passwort"),
            ("de", "für dich"),
            ("de", "Gib eine gültige E-Mail-Adresse an."),
            ("de", "Bitte versuche es später erneut."),
            ("de", "Bitte wähle nur eine aus."),
            ("ru", "Введи код"),
            ("ru", "Это твой ключ"),
        ],
    )
    def test_the_familiar_is_one(self, language: str, text: str) -> None:
        assert "familiar" in glossary.flaw(text, language=language)

    @pytest.mark.parametrize(
        ("language", "text"),
        [
            ("de", "Sicherheitsschlüssel hinzufügen"),
            ("de", "E-Mailadresse entfernt"),
            ("de", "Ihr Kontostand"),
            ("de", "API-Keys"),
            ("ru", "Учетная запись"),
            ("ru", "Ваш E-mail"),
            ("ru", "Ключ безопасности удалён"),
            ("ru", "Ключ удален"),
            ("ru", "Пожалуйста, подождите"),
        ],
    )
    def test_another_word_is_one(self, language: str, text: str) -> None:
        assert "not our word" in glossary.flaw(text, language=language)

    @pytest.mark.parametrize(
        ("language", "text"),
        [
            ("de", "Ihr Passwort"),
            ("de", "durch die Bank"),
            ("de", "Indien"),
            ("de", "%(number)s Versuche an dieser Stelle"),
            ("de", "Benutzername %(key)s"),
            ("ru", "Введите код"),
            ("ru", "Адрес %(email)s подтверждён, ссылка подтверждена"),
            ("ru", "Счета, адрес и номер НДС"),
        ],
    )
    def test_the_formal_in_our_words_is_none(self, language: str, text: str) -> None:
        assert glossary.flaw(text, language=language) == ""
