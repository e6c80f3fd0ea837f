"""Texts and ids of a data set on their way into HTML, JSON, Markdown and TREC files: they are data, never code."""

import json
import re
from typing import Any
from urllib.parse import quote

from embedtune.texts import printable

__all__ = ["in_json", "in_markdown", "in_script", "in_trec", "shortened", "without_controls"]

# All of Unicode's that no HTML document may hold, and halves of surrogate pairs, which no file can hold.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")
_HALVES = re.compile("[\ud800-\udfff]")
# U+2028 and U+2029 end a line in the JavaScript of older browsers.
_UNSAFE_IN_SCRIPT = re.compile("[<>&\u2028\u2029]")
_MARKDOWN = re.compile(r"[\\`*\[\]|~#]|^>")
_TREC_SAFE = "!\"#$&'()*+,/:;<=>?@[]^`{|}"


def without_controls(text: str) -> str:
    r"""The text with U+FFFD in place of what an HTML document cannot hold; tab and newline stay.

    >>> without_controls("a\x00b\n")
    'a�b\n'
    """
    return _CONTROLS.sub("\ufffd", text)


def in_json(value: Any, indent: int | None = None) -> str:
    r"""JSON in which letters stay letters, except for halves of surrogate pairs.

    >>> in_json({"städte": "\ud800"})
    '{"städte":"\\ud800"}'
    """
    separators = (",", ":") if indent is None else None
    return _HALVES.sub(_escaped, json.dumps(value, ensure_ascii=False, indent=indent, separators=separators))


def in_script(value: Any) -> str:
    r"""JSON that can stand in a script element of an HTML page: nothing in it ends the element.

    >>> in_script("</script>")
    '"\\u003c/script\\u003e"'
    """
    return _UNSAFE_IN_SCRIPT.sub(_escaped, in_json(value))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def in_markdown(text: str) -> str:
    r"""One line that no Markdown reader takes for a table's cell, markup or HTML.

    >>> in_markdown("a|b <i> *c*")
    'a\\|b &lt;i> \\*c\\*'
    """
    line = printable(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(lambda found: "\\" + found[0], line)


def in_trec(identifier: str) -> str:
    """An id without white space, percent-encoded; two ids stay two.

    >>> in_trec("page 1%"), in_trec("a#b/ü")
    ('page%201%25', 'a#b/%C3%BC')
    """
    return quote(identifier, safe=_TREC_SAFE, errors="surrogatepass")


def shortened(text: str, most: int) -> str:
    """The first characters of a text; an ellipsis says where more follows.

    >>> shortened("abcdef", 3)
    'abc…'
    """
    return text if len(text) <= most else f"{text[:most]}…"
