"""The report that came with an exported run, for where its corpora are not prepared."""

from __future__ import annotations

from pathlib import Path

from phoneme_moe.corpora.prepared import prepared_names
from phoneme_moe.evaluation.stored_card import CARD
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.run_folder import LoadedRun

ROUTING = Path("report", "routing.json")

CAVEAT = (
    "This is the report that came with the model, without recordings and the table of frames: its "
    "corpora are not prepared here."
)


def stored_document(run: LoadedRun) -> RoutingDocument | None:
    """The report stored with an exported run whose corpora are not prepared; None for other runs.

    Args:
        run: The run.

    Raises:
        InputError: The stored report is not valid.
    """
    corpora = run.recipe.corpus.name.split("+")
    if not (run.folder / CARD).is_file() or set(corpora) <= set(prepared_names()):
        return None
    document = RoutingDocument.read_if_present(run.folder / ROUTING)
    if document is None:
        return None
    return document.model_copy(update={"missing": [CAVEAT, *document.missing]})
