"""What the user calls his samples: a path for the URI that it was sent as, a text for the URI in which it stands."""

from __future__ import annotations

from alaas.texts import text_of


class Given:
    """Names by URI, for as long as a client lives; only those that differ are kept."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self.has_texts = False  # then a text is told by its URI

    def remember(self, sent: str, given: str) -> None:
        if sent != given:
            self._names.setdefault(sent, given)

    def name_of(self, sent: str) -> str:
        name = self._names.get(sent)
        if name is None and self.has_texts:
            name = text_of(sent)
        return sent if name is None else name

    def sent(self) -> dict[str, str]:
        """URI by name."""
        return {given: sent for sent, given in self._names.items()}
