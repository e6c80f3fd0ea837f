"""When two texts count as the same."""

import hashlib
import unicodedata

__all__ = ["fold", "printable", "text_hash"]


def text_hash(text: str) -> str:
    r"""16 hex digits that depend on the NFC form of ``text`` alone.

    >>> text_hash("Zu\u0308rich") == text_hash("Z\u00fcrich")
    True
    """
    normal = unicodedata.normalize("NFC", text)
    return hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def fold(text: str) -> str:
    r"""Compatibility form, case-folded, runs of white space as one: texts that differ in nothing else are equal.

    >>> fold("  Straße\n 1 ") == fold("STRASSE 1")
    True
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def printable(text: str) -> str:
    r"""One line that cannot drive a terminal: control characters and runs of white space become one space.

    >>> printable("a\x1b[2J\nb")
    'a [2J b'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
