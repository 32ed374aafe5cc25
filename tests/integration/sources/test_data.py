from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from alaas.errors import SampleCode, SampleError
from alaas_workers.sources import Fetched, Sources
from tests.support.source_configs import personal, public


def test_a_text_comes_out_of_its_uri_as_utf8(tmp_path: Path) -> None:
    text = "Ein kurzer Satz, 100 % \u2603\n"
    (result,) = _fetch(Sources(public(tmp_path)), "data:text/plain;charset=utf-8," + quote(text, safe=""))
    assert isinstance(result, Fetched) and result.data.decode() == text


def test_what_it_holds_is_capped_after_decoding(tmp_path: Path) -> None:
    sources = Sources(personal(tmp_path, max_sample_bytes=3))
    full, large = _fetch(sources, "data:,%41%42%43", "data:;base64,QUJDRA==")
    assert isinstance(full, Fetched) and full.data == b"ABC"
    assert isinstance(large, SampleError) and large.sample_code is SampleCode.TOO_LARGE


def _fetch(sources: Sources, *uris: str) -> list[Fetched | SampleError]:
    try:
        return sources.fetch_all(uris, "somebody")
    finally:
        sources.close()
