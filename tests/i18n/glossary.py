"""
How we address readers, and the one word that we use for an idea in each language.

What a pattern finds is not said on our pages and in our mails, by us or by a library; beside it
stands what is said instead.
"""

# ruff: noqa: RUF001 - Russian has letters that look like ours

from __future__ import annotations

import re
from typing import Final

# Singular pronouns, and the imperatives that libraries use.
FAMILIAR: Final = {
    # Those that are nouns too are looked for in small letters, or with what follows them.
    "de": re.compile(
        r"\b([Dd]u|[Dd]ich|[Dd]ir|[Dd]ein\w*|[Gg]ib|[Ww]ähle|versuche|Versuche es|[Kk]ontaktiere|"
        r"[Ll]ass|stelle|[Ää]ndere|[Pp]rüfe|[Kk]licke?|[Bb]estätige|melde|Melde dich|[Vv]erwende|"
        r"[Kk]orrigiere|lade|[Nn]imm|[Ss]chau|[Üü]berprüfe|[Ss]peichere|sende|[Ll]ies|[Hh]ilf|"
        r"warte|[Öö]ffne|[Ss]chließe|[Ee]rstelle|[Ll]ösche|[Ss]chreibe|[Ss]etze|habe Geduld)\b"
    ),
    "ru": re.compile(
        r"\b(ты|тебя|тебе|тобой|тво(й|я|ё|е|и|их|им|ими|его|ему|ём|ей|ю)|введи|выбери|укажи|проверь|"
        r"попробуй|сохрани|подожди|нажми|перейди|создай|удали|скопируй|открой|войди|повтори)\b",
        re.IGNORECASE,
    ),
}
MARKS: Final = re.compile(r"%\(\w+\)\w|</?\w[^>]*>|\{\w*\}")
WORDS: Final = {
    "de": {
        r"\bAccounts?\b|Benutzerkonto": "Konto",
        r"\bBenutzer(?!name)": "Nutzer",
        r"\bEmails?\b|E-Mailadress|E-Mail Adress": "E-Mail, E-Mail-Adresse",
        r"\b(Login|Log-in|[Ee]inloggen)\b": "Anmeldung, anmelden",
        r"[Vv]erifizier": "bestätigen",
        r"Kennwort|Passwortes": "Passwort, Passworts",
        r"Sicherheitsschlüssel|Hauptschlüssel|Sicherungsschlüssel": "Passkey",
        r"[Pp]asswortfrei|[Pp]asswortlose": "ohne Passwort",
        r"Authentifizierungs(code|geheimnis|-App)": "Code, Geheimnis der Authenticator-App",
        r"Wiederherstellungs-": "Wiederherstellungscodes",
        r"[Gg]enerier": "erzeugen",
        r"Arbeitsbereich|Organisation": "Workspace",
        r"Kontostand|Saldo": "Guthaben",
        r"\b(API-)?Keys?\b": "Schlüssel",
        r"Obergrenze|Deckel|Kontingent": "Limit",
        r"Sicherheits-Token": "Link",
        r"\bTransaktion": "Kontobewegung, Zahlung",
        r"Rückerstattung": "Erstattung",
        r"\bRequests?\b": "Anfrage",
        r"\bProvider\b": "Anbieter",
    },
    "ru": {
        r"уч[её]тн\w+ запис|\bаккаунта? пользовател": "аккаунт",
        r"e-?mail|\bимейл": "адрес электронной почты, письмо",
        r"\bлогин|авторизац": "вход",
        r"верифи": "подтвердить",
        r"ключ\w* безопасности|passkey|мастер-ключ": "ключ доступа",
        r"беспарольн": "без пароля",
        r"деактив": "отключить",
        r"сесси": "сеанс",
        r"генерир": "создать",
        r"воркспейс|рабоч\w+ област|организаци": "рабочее пространство",
        r"дашборд": "панель управления",
        r"кошел": "баланс",
        r"транзакц": "операция, платёж",
        r"\bквот": "лимит",
        r"\bреквест": "запрос",
        r"\bактивир": "включить",
        r"риложени\w+ аутентификатор": "приложение-аутентификатор",
        r"пожалуйста": "nothing",
        # The letter ё is written.
        r"\b(еще|учет\w*|\w*распространенн\w*|(подтвержд|удал|отключ|включ|защищ|закрепл|прикрепл|измен|введ|определ|"
        r"сохран|завед)ен|счет(у|ом)?|платеж)\b": "ё",
    },
}
PATTERNS: Final = {
    language: [
        (re.compile(pattern, re.IGNORECASE if language == "ru" else 0), instead)
        for pattern, instead in words.items()
    ]
    for language, words in WORDS.items()
}


def flaw(text: str, *, language: str) -> str:
    """What is not said so in a language, or nothing."""
    text = MARKS.sub(" ", text)
    if found := FAMILIAR[language].search(text):
        return f"{found[0]!r} is familiar"
    for pattern, instead in PATTERNS[language]:
        if found := pattern.search(text):
            return f"{found[0]!r} is not our word: {instead}"
    return ""
