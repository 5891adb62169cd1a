"""Reports of several runs and their summary, written to files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from phoneme_moe.errors import InputError
from phoneme_moe.files.writing import write_json, write_text
from phoneme_moe.report.run import report_run
from phoneme_moe.report.seeds.document import SeedsDocument
from phoneme_moe.run_folder import LoadedRun

if TYPE_CHECKING:
    from phoneme_moe.report.paper.style import PaperStyle


@dataclass(frozen=True)
class SeedsReport:
    """A written summary of several runs.

    Attributes:
        document: The content of ``seeds.json``.
        files: Paths of the written files.
    """

    document: SeedsDocument
    files: tuple[Path, ...]

    @property
    def text(self) -> RenderableType:
        """The summary for a terminal."""
        from phoneme_moe.report.seeds.text import seeds_text

        return seeds_text(self.document)

    def save_figures(
        self,
        folder: str | Path,
        style: PaperStyle | None = None,
        progress: Callable[[str], None] = lambda stage: None,
    ) -> list[Path]:
        """Writes the heat map of the page as a file for a paper; nothing for a single expert.

        Arguments, result and errors are those of ``RunReport.save_figures``.
        """
        # Imported here, since matplotlib is slow to import.
        from phoneme_moe.report.paper.figures import write_figures
        from phoneme_moe.report.seeds.page import seeds_figures

        return write_figures(seeds_figures(self.document), Path(folder), style, progress)


def report_seeds(
    runs: Sequence[LoadedRun],
    split: str = "test",
    out: str | Path | None = None,
    corpus: str | None = None,
    layer: str | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> SeedsReport:
    """Reports the routing of runs of one recipe with other seeds, and what they have in common.

    Args:
        runs: The runs, two at least; each gets its own report, in its folder.
        split: ``train``, ``dev`` or ``test``.
        out: Output folder of the summary; by default ``report/seeds`` in the folder of the first.
        corpus: A prepared corpus; by default that of the runs.
        layer: A sparse layer; by default the last one.
        progress: Called with the name of each step.

    Raises:
        InputError: The runs differ in more than their seed, or as for ``report_run``.
    """
    # Imported here, since scipy and jinja2 are slow to import.
    from phoneme_moe.report.seeds.page import render_seeds
    from phoneme_moe.report.seeds.summary import summarize_seeds

    _check_one_recipe(runs)
    reports = []
    for run in runs:

        def of_run(stage: str, name: str = str(run.name)) -> None:
            progress(f"{name}: {stage}")

        reports.append(report_run(run, split, None, corpus, layer, progress=of_run).document)
    folders = [str(run.folder) for run in runs]
    document = summarize_seeds(folders, [run.recipe.seed for run in runs], reports)
    folder = Path(out or runs[0].output_folder / "report" / "seeds")
    page = render_seeds(document)
    write_json(folder / "seeds.json", document.model_dump(mode="json"))
    write_text(folder / "seeds.html", page)
    return SeedsReport(document, (folder / "seeds.html", folder / "seeds.json"))


def _check_one_recipe(runs: Sequence[LoadedRun]) -> None:
    """Checks that the runs differ in their seed, and in their name at most."""
    first = runs[0]
    seeds: dict[int, Path] = {}
    for run in runs:
        same = {"seed": 0, "name": first.recipe.name, "description": first.recipe.description}
        if run.recipe.model_copy(update=same) != first.recipe.model_copy(update={"seed": 0}):
            raise InputError(
                f"{run.folder}: its recipe differs from that of {first.folder} in more than the "
                "seed; expected runs of one recipe (compare shows two runs side by side)"
            )
        if run.recipe.seed in seeds:
            raise InputError(
                f"{run.folder}: found seed {run.recipe.seed}, which {seeds[run.recipe.seed]} has, "
                "expected another"
            )
        seeds[run.recipe.seed] = run.folder
