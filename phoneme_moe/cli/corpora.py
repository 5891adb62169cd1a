"""``phoneme-moe corpora``: list, download, prepare and check speech corpora."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phoneme_moe.cli.completion import corpus_names, prepared_corpus_names
from phoneme_moe.cli.download import download
from phoneme_moe.cli.options import FiguresFile
from phoneme_moe.cli.plain_help import Command, Group
from phoneme_moe.errors import InputError
from phoneme_moe.system.terminal import print_error, print_line

if TYPE_CHECKING:
    from rich.table import Table

    from phoneme_moe.corpora.check import CorpusCheck
    from phoneme_moe.corpora.prepare import LabelOptions

Tier = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Tier of TextGrids.", show_default="phones, words or so"),
]

app = typer.Typer(
    name="corpora",
    cls=Group,
    help="List, download, prepare and check speech corpora (under $PHONEME_MOE_DATA, else ./data).",
    no_args_is_help=True,
)


app.command("download", cls=Command)(download)


@app.command("list", cls=Command)
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


@app.command("prepare", cls=Command)
def prepare(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a corpus (phoneme-moe corpora list).", autocompletion=corpus_names
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Source folder of the corpus; not changed."),
    ] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Pronunciations as in CMUdict or MFA, if the texts are words.",
        ),
    ] = None,
    unknown_words: Annotated[
        str | None,
        typer.Option(
            metavar="g2p|skip|refuse",
            help="Words not in the lexicon: guess them, leave out their utterances, or stop.",
            show_default="refuse",
        ),
    ] = None,
    tier: Tier = None,
    symbols: Annotated[
        str | None,
        typer.Option(
            metavar="NOTATION",
            help="Convert phonemes to ipa, xsampa or arpabet.",
            show_default="as they are",
        ),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the recordings of a Lhotse manifest, if they are not below it.",
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

    options: LabelOptions = {
        "lexicon": lexicon,
        "unknown_words": unknown_words,
        "tier": tier,
        "symbols": symbols,
        "audio": audio,
    }
    done_before = is_prepared(name, source, as_name=as_name, **options)
    folder = prepare_corpus(name, source, as_name=as_name, **options)
    corpus = load_corpus(folder.name)
    state = "already prepared" if done_before else "prepared"
    print_line(f"{corpus.name}: {state} in {folder}")
    _print(_counts_table(corpus.description["splits"]))
    print_line(f"{len(corpus.phonemes)} phonemes: {' '.join(corpus.phonemes)}")
    for note in corpus.notes:
        print_line(note)


@app.command("shard", cls=Command)
def shard(
    name: Annotated[
        str, typer.Argument(help="A prepared corpus.", autocompletion=prepared_corpus_names)
    ],
    shards: Annotated[
        int, typer.Option(metavar="N", help="Number of shards; more than the processes that read.")
    ],
) -> None:
    """Write the training split as N large files, for recipes with training.stream.

    The format is Lhotse Shar, with audio as FLAC in 16 bits. Files and rates of the
    recordings do not change.
    """
    from phoneme_moe.corpora import load_corpus
    from phoneme_moe.corpora.shards import write_shards

    if "+" in name:
        raise InputError(f"{name}: found several corpora, expected one; each has its shards")
    folder = write_shards(load_corpus(name), shards)
    gigabytes = sum(file.stat().st_size for file in folder.rglob("*")) / 1e9
    print_line(f"{name}: {shards} shards, {gigabytes:.2f} GB, in {folder}")


@app.command("unknown-words", cls=Command)
def unknown_words(
    source: Annotated[
        Path,
        typer.Option("--from", metavar="DIR", help="A folder as of corpora prepare, with words."),
    ],
    lexicon: Annotated[Path, typer.Option(metavar="FILE", help="The pronunciations.")],
    tier: Tier = None,
    g2p: Annotated[
        bool, typer.Option("--g2p", help="Guess their pronunciations, too (last column).")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the guesses as a lexicon, to be corrected."),
    ] = None,
    json: FiguresFile = None,
) -> None:
    """List the words of your texts that a lexicon does not have.

    One line each: the word, how often it occurs, and where first.
    """
    from phoneme_moe.corpora.unknown_words import find_unknown_words, write_guesses
    from phoneme_moe.files.writing import write_json

    guess = g2p or out is not None
    found = find_unknown_words(source, lexicon, tier, guess)
    for word in found.words:
        guessed = [" ".join(word.guess or ["?"])] if guess else []
        print_line(word.word, word.count, word.first, *guessed)
    counts = f"{sum(word.count for word in found.words):,} of {found.num_words:,} occurrences"
    where = f"{found.affected:,} of {found.utterances:,} utterances"
    total = f"words that are not in {lexicon}: {len(found.words):,} ({counts}, in {where})"
    print_error(total)
    if out is not None:
        write_guesses(found, out)
    if json is not None:
        write_json(json, found.model_dump())


@app.command("check", cls=Command)
def check(
    name: Annotated[
        str, typer.Argument(help="A prepared corpus.", autocompletion=prepared_corpus_names)
    ],
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
        print_line(f"note: nearly the same phonemes: {counts}")
    for problem in result.problems:
        print_line(f"{problem.where}: {problem.what}")
    if result.problems:
        raise InputError(f"{name}: found {len(result.problems)} problems, expected none")
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
    from phoneme_moe.system.console import PlainConsole

    PlainConsole().print(table)
