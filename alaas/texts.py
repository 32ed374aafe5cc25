"""Texts as samples: a short one stands in its own URI (data:), and the bytes of a longer one are sent up by content."""

from __future__ import annotations

from urllib.parse import quote, unquote

from alaas.checks import MAX_URI

PREFIX = "data:text/plain;charset=utf-8,"


def text_uri(text: str) -> str | None:
    """The URI in which `text` stands; None where it is too long for one. Raises UnicodeEncodeError.

    One text has one URI, so that the same text is the same sample: letters, digits and `_.-~` stand, all else is
    percent-encoded.
    """
    if len(text) > MAX_URI:
        text.encode()
        return None
    uri = PREFIX + quote(text, safe="")
    return uri if len(uri) <= MAX_URI else None


def text_of(uri: str) -> str | None:
    """The text that stands in `uri`; None for any other URI."""
    return unquote(uri.removeprefix(PREFIX)) if uri.startswith(PREFIX) else None
