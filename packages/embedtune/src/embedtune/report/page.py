"""The report as one HTML file that asks for nothing: scripts, styles and data stand in it."""

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from embedtune.dataset import QADataset
from embedtune.errors import BackendNotFoundError
from embedtune.report.contents import Contents
from embedtune.report.escaping import in_script, shortened, without_controls
from embedtune.report.listing import MOST_CHARACTERS, Listing, list_questions
from embedtune.report.ranks import Movement
from embedtune.report.tables import (
    curve_table,
    dataset_tables,
    main_table,
    metric_table,
    movement_table,
    settings_table,
    slice_table,
)

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["PAGE_BYTES", "check_libraries", "html_page"]

PAGE_BYTES = 10_000_000
"""A page stays below; what does not fit stands in the JSON."""
_OF_PUNCTUATION = 1_000
_END_OF_SCRIPT = re.compile("</(?=script)", re.IGNORECASE)


def check_libraries() -> None:
    """Refuse before any work is done.

    Raises:
        BackendNotFoundError: If jinja2 or plotly is missing.
    """
    if missing := [name for name in ("jinja2", "plotly") if find_spec(name) is None]:
        raise BackendNotFoundError(
            f"The HTML report needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            'installed. Install the report\'s extra with: pip install "embedtune[report]"'
        )


def html_page(contents: Contents, dataset: QADataset) -> str:
    """The page, below `PAGE_BYTES` in UTF-8."""
    template, parts = _template(), _parts(contents)
    # All but the questions, to see how much room is left for them.
    nothing = Listing(MOST_CHARACTERS)
    without = template.render(parts, listing=nothing, data=_embedded(contents, nothing))
    room = PAGE_BYTES - len(without.encode()) - _OF_PUNCTUATION
    listing = list_questions(contents, dataset, room)
    return template.render(parts, listing=listing, data=_embedded(contents, listing))


def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("embedtune.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_controls,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _without_controls(value: Any) -> Any:
    # Not of a str's subclass: Markup is our own, and megabytes of it.
    return without_controls(value) if type(value) is str else value


def _parts(contents: Contents) -> dict[str, Any]:
    """All that the template names, but for the questions."""
    from plotly.offline import get_plotlyjs

    comparison, names = contents.comparison, contents.names
    scripts = [_script(text) for text in (get_plotlyjs(), _file("page.js"))]
    return {
        "contents": contents,
        "comparison": comparison,
        "names": names,
        "primary": contents.primary,
        "main": main_table(comparison, names),
        "metrics": metric_table(comparison, names),
        "slices": slice_table(comparison, names),
        "curves": curve_table(contents.curves, names),
        "movements": {name: (of, movement_table(of, names)) for name, of in contents.movements.items()},
        "dataset_tables": list(dataset_tables(contents.overview)) if contents.overview else [],
        "settings": settings_table(contents.settings),
        "n_changed": len(contents.changed[0]),
        "most_characters": MOST_CHARACTERS,
        "sample_text": lambda text: shortened(text, MOST_CHARACTERS),
        "policy": _policy(scripts),
        "scripts": scripts,
        "style": _file("page.css"),
    }


def _file(name: str) -> str:
    return files("embedtune.report").joinpath("assets", name).read_text(encoding="utf-8")


def _script(text: str) -> str:
    """As a browser will read it, so that its hash is the one the browser computes."""
    return _END_OF_SCRIPT.sub(r"<\\/", text.replace("\r\n", "\n").replace("\r", "\n"))


def _policy(scripts: list[str]) -> str:
    """What the page may do: run these scripts, draw, and nothing else; no address is ever asked."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _embedded(contents: Contents, listing: Listing) -> str:
    """What the page's script reads."""
    comparison = contents.comparison
    data = {
        "names": contents.names,
        "topK": comparison.top_k,
        "margin": comparison.margin,
        "primary": comparison.primary,
        "types": list(comparison.evaluations),
        "curves": {name: vars(curve) for name, curve in contents.curves.items()},
        "differences": _differences(contents),
        "movements": {name: _movement(of) for name, of in contents.movements.items()},
        "questions": listing.questions,
        "chunks": listing.chunks,
    }
    return in_script(data)


def _differences(contents: Contents) -> Mapping[str, list[list[float]]]:
    """Cut-off, difference in hit rate, and both ends of its interval, by query type."""
    found: dict[str, list[list[float]]] = {name: [] for name in contents.comparison.evaluations}
    for row in contents.comparison.rows:
        if row.metric == "hit_rate":
            found[row.query_type].append([row.k, row.difference, row.low, row.high])
    return {name: sorted(rows) for name, rows in found.items()}


def _movement(of: Movement) -> dict[str, Any]:
    return {
        "bands": [[band.first, band.last] for band in of.bands],
        "gains": [[gain.change, gain.n_questions, gain.ranks] for gain in of.gains],
    }
