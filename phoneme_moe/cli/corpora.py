"""``phoneme-moe corpora``: list, prepare and check speech corpora."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phoneme_moe.terminal import print_line

if TYPE_CHECKING:
    from rich.table import Table

    from phoneme_moe.corpora.check import CorpusCheck

app = typer.Typer(
    name="corpora",
    help="List, prepare and check speech corpora (under $PHONEME_MOE_DATA, else ./data).",
    no_args_is_help=True,
)


@app.command("list")
def list_corpora() -> None:
    """List corpora, with the folder of each or the command that prepares it."""
    from phoneme_moe.corpora import CORPORA, data_root, prepared_names

    prepared = prepared_names()
    missing = [source for name, source in CORPORA.items() if name not in prepared]
    table = _table("name", "prepared in", "description")
    for name, source in CORPORA.items():
        where = str(data_root() / name) if name in prepared else "-"
        table.add_row(name, where, source.description)
    for name in prepared:
        if name not in CORPORA:
            table.add_row(name, str(data_root() / name), "your own")
    _print(table)
    if missing:
        print_line("To prepare another corpus:")
    for source in missing:
        option = " --from DIR" if source.needs_source else ""
        print_line(f"  phoneme-moe corpora prepare {source.name}{option}")


@app.command("prepare")
def prepare(
    name: Annotated[str, typer.Argument(help="Name of a corpus (phoneme-moe corpora list).")],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Source folder of the corpus; not changed."),
    ] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Pronunciations as in CMUdict or MFA, for kaldi folders whose text is words.",
        ),
    ] = None,
    as_name: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            help="Name by which recipes refer to it.",
            show_default="its own",
        ),
    ] = None,
) -> None:
    """Prepare a corpus for training; does nothing if it is already prepared."""
    from phoneme_moe.corpora import is_prepared, load_corpus, prepare_corpus

    done_before = is_prepared(name, source, lexicon=lexicon, as_name=as_name)
    folder = prepare_corpus(name, source, lexicon=lexicon, as_name=as_name)
    corpus = load_corpus(folder.name)
    state = "already prepared" if done_before else "prepared"
    print_line(f"{corpus.name}: {state} in {folder}")
    _print(_counts_table(corpus.description["splits"]))
    print_line(f"{len(corpus.phonemes)} phonemes: {' '.join(corpus.phonemes)}")
    for note in corpus.notes:
        print_line(note)


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="A prepared corpus.")],
) -> None:
    """Read every audio file and label and list all problems (exit status 1 if any).

    Phonemes that differ only in length, stress, tone or case, or look alike, are
    listed as notes.
    """
    from phoneme_moe.corpora import load_corpus
    from phoneme_moe.corpora.check import check_corpus

    corpus = load_corpus(name)
    result = check_corpus(corpus, progress=True)
    _print(_counts_table(result.counts))
    _print(_inventory_table(result))
    for group in result.twins:
        counts = ", ".join(f"{phoneme} {count:,}" for phoneme, count in group.items())
        typer.echo(f"note: nearly the same phonemes: {counts}")
    for problem in result.problems:
        print_line(f"{problem.where}: {problem.what}")
    if result.problems:
        print_line(f"{name}: {len(result.problems)} problems")
        raise typer.Exit(1)
    print_line(f"{name}: no problems")


def _counts_table(splits: dict[str, dict[str, Any]]) -> Table:
    table = _table("split", "speakers", "utterances", "hours", "phonemes", num_text=1)
    for split, counts in splits.items():
        table.add_row(
            split,
            f"{counts['speakers']:,}",
            f"{counts['utterances']:,}",
            f"{counts['seconds'] / 3600:.2f}",
            f"{counts['phonemes']:,}",
        )
    return table


def _inventory_table(result: CorpusCheck) -> Table:
    table = _table("phoneme", *result.inventory, num_text=1)
    phonemes = sorted({phoneme for counts in result.inventory.values() for phoneme in counts})
    for phoneme in phonemes:
        table.add_row(phoneme, *(f"{counts[phoneme]:,}" for counts in result.inventory.values()))
    return table


def _table(*columns: str, num_text: int | None = None) -> Table:
    """A table with ``num_text`` columns of text (by default all), then numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for index, column in enumerate(columns):
        is_number = num_text is not None and index >= num_text
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    return table


def _print(table: Table) -> None:
    from phoneme_moe.console import PlainConsole

    PlainConsole().print(table)
