from __future__ import annotations

import unicodedata
from importlib.resources import files
from pathlib import Path

import pytest

from phoneme_moe.corpora.lexicon import ARPABET
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.decoding.symbols import fold_names, symbol_encoder, symbol_map
from phoneme_moe.errors import InputError
from phoneme_moe.notation.convert import NOTATIONS

# As TIMIT's documentation (PHONCODE.DOC) lists them.
_SYMBOLS = """
b d g p t k dx q jh ch s sh z zh f th v dh m n ng em en eng nx l r w y hh hv el
iy ih eh ey ae aa aw ay ah ao oy ow uh uw ux er ax ix axr ax-h
bcl dcl gcl pcl tcl kcl pau epi h#
"""
TIMIT = _SYMBOLS.split()
FOLDS = [f"decoding/fold_{name}" for name in fold_names()]
TABLES = ["notation/arpabet_ipa", "notation/xsampa_ipa", *FOLDS]


def rows(table: str) -> list[list[str]]:
    package, _, name = table.partition("/")
    text = files(f"phoneme_moe.{package}").joinpath("tables", f"{name}.tsv").read_text("utf-8")
    return [line.split("\t") for line in text.splitlines() if not line.startswith("# ")]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_two_columns_and_no_symbol_twice(table: str) -> None:
    assert all(
        len(row) == 2 and all(cell == cell.strip() != "" for cell in row) for row in rows(table)
    )
    symbols = [row[0] for row in rows(table)]
    assert len(symbols) == len(set(symbols))


@pytest.mark.parametrize("table", ["notation/arpabet_ipa", *FOLDS])
def test_a_table_knows_every_phoneme_of_cmudict_and_timit(table: str) -> None:
    assert len(TIMIT) == 61
    symbols = {row[0] for row in rows(table)}
    assert ARPABET | {symbol.upper() for symbol in TIMIT} <= symbols


@pytest.mark.parametrize("table", TABLES)
def test_tables_are_composed(table: str) -> None:
    for row in rows(table):
        assert [unicodedata.normalize("NFC", cell) for cell in row] == row


@pytest.mark.parametrize("fold", fold_names())
def test_folding_again_changes_nothing(fold: str) -> None:
    once = symbol_map([*TIMIT, *sorted(ARPABET)], fold=fold)
    folded = sorted(set(once.values()))
    assert symbol_map(folded, fold=fold) == {symbol: symbol for symbol in folded}


def test_arpabet_comes_back_from_ipa() -> None:
    ipa = symbol_map(sorted(ARPABET), "ipa")
    assert len(set(ipa.values())) == 39
    back = symbol_map(list(ipa.values()), "arpabet")
    assert {symbol: back[ipa[symbol]] for symbol in ARPABET} == {s: s for s in ARPABET}


def written(phonemes: str, symbols: str | None = None, fold: str | None = None) -> str:
    return " ".join(symbol_map(phonemes.split(), symbols, fold).values())


def test_ipa_has_the_letters_of_general_american() -> None:
    arpabet = "AA AE AO AW CH DH ER G JH NG OY R Y ZH AX DX Q EL"
    assert written(arpabet, "ipa") == "ɑ æ ɔ aʊ tʃ ð ɝ ɡ dʒ ŋ ɔɪ ɹ j ʒ ə ɾ ʔ l̩"
    assert unicodedata.name(written("G", "ipa")) == "LATIN SMALL LETTER SCRIPT G"


# As in Wells' page on SAMPA for English (RP) and German.
ENGLISH = "p b t d k g tS dZ f v T D s z S Z h m n N r l w j I e { Q V U @ i: eI aI OI u: @U 3:"
GERMAN = "pf ts tS dZ f v s z S Z C j x h m n N l R I E a O U Y 9 i: e: a: o: u: y: 2: aI aU OY 6"


@pytest.mark.parametrize("phonemes", [ENGLISH, GERMAN])
def test_xsampa_comes_back_from_ipa(phonemes: str) -> None:
    ipa = symbol_map(phonemes.split(), "ipa")
    assert symbol_map(phonemes.split(), "xsampa") == {p: p for p in phonemes.split()}
    back = symbol_map(list(ipa.values()), "xsampa")
    assert [back[symbol] for symbol in ipa.values()] == phonemes.split()


def test_ipa_of_xsampa() -> None:
    assert written("tS dZ T D S Z N 2: 9 OY a: 6 g", "ipa") == "tʃ dʒ θ ð ʃ ʒ ŋ øː œ ɔʏ aː ɐ ɡ"
    assert written("AA CH HH NG R ER0 ER SIL", "xsampa") == "A tS h N r\\ @` 3` SIL"
    assert written("tS D E A N sil", "arpabet") == "CH DH EH AA NG SIL"


def test_stress_distinguishes_reduced_vowels_and_is_removed() -> None:
    stressed = "AH0 AH1 AH2 AH ER0 ER1 IY0 OY2"
    assert written(stressed, "ipa") == "ə ʌ ʌ ʌ ɚ ɝ i ɔɪ"
    assert written(stressed, "arpabet") == "AH AH AH AH ER ER IY OY"
    assert written("AH0 IY1", fold="classes") == "vowel vowel"
    assert written("ə ɚ", "arpabet") == "AH ER"


@pytest.mark.parametrize("symbols", NOTATIONS)
def test_what_is_written_so_already_stays(symbols: str) -> None:
    once = list(symbol_map([*TIMIT, *sorted(ARPABET)], symbols).values())
    assert symbol_map(once, symbols) == {symbol: symbol for symbol in once}


@pytest.mark.parametrize("symbols", ["arpabet", "ipa"])
def test_small_letters_of_timit_are_capitals(symbols: str) -> None:
    small, capitals = symbol_map(TIMIT, symbols), symbol_map(list(map(str.upper, TIMIT)), symbols)
    assert {symbol.upper(): name for symbol, name in small.items()} == capitals


def test_without_options_nothing_changes() -> None:
    assert symbol_map(["ä", "AH0"]) == {"ä": "ä", "AH0": "AH0"}


def test_lee_and_hon_train_48_phones_and_score_39() -> None:
    trained = symbol_map(TIMIT, fold="timit48")
    scored = symbol_map(TIMIT, fold="timit39")
    assert (len(set(trained.values())), len(set(scored.values()))) == (48, 39)
    again = symbol_map(sorted(set(trained.values())), fold="timit39")
    assert {symbol: again[trained[symbol]] for symbol in TIMIT} == scored
    # The groups that they name; the rest is by name alone.
    same = ("sh zh", "aa ao", "ih ix", "ah ax ax-h", "n en nx", "ng eng", "l el", "m em", "uw ux",
            "er axr", "hh hv", "pcl tcl kcl bcl dcl gcl h# pau epi")  # fmt: skip
    for group in same:
        assert len({scored[symbol] for symbol in group.split()}) == 1


def test_classes_are_manners_of_articulation() -> None:
    classes = "vowel stop affricate fricative nasal approximant silence"
    assert written("AY K CH DH NG Y H#", fold="classes") == classes


def test_phonemes_are_folded_before_they_are_written() -> None:
    assert written("zh ao h#", "ipa", "timit39") == "ʃ ɑ SIL"


@pytest.mark.parametrize(
    ("symbols", "fold", "message"),
    [
        ("ipaa", None, r"symbols: found 'ipaa' \(did you mean 'ipa'\?\)"),
        (None, "timit93", r"fold: found 'timit93' \(did you mean 'timit39'\?\)"),
        ("ipa", None, r"phoneme 'ZHH' is not in the table arpabet_ipa \(did you mean 'ZH'\?\)"),
        ("arpabet", None, r"phoneme 'ZHH' is not in the table arpabet_ipa"),
        (None, "classes", r"phoneme 'ZHH' is not in the table fold_classes"),
        ("ipa", "classes", r"phoneme 'ZHH' is not in the table fold_classes"),
    ],
)
def test_what_is_in_no_table_is_named_with_what_was_meant(
    symbols: str | None, fold: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        symbol_map(["AH", "ZHH"], symbols, fold)
    assert "\n" not in str(caught.value)


MODEL = PhonemeSet(tuple(sorted(ARPABET)), has_blank=True)


@pytest.mark.parametrize("symbols", [None, *NOTATIONS])
def test_what_is_written_is_understood(symbols: str | None) -> None:
    names = symbol_map(MODEL.symbols, symbols)
    encode = symbol_encoder(MODEL, symbols)
    assert encode(names.values()) == MODEL.encode(MODEL.symbols)
    # D and S are in X-SAMPA, too, and something else.
    assert encode(MODEL.symbols) == MODEL.encode(MODEL.symbols)
    assert encode(["DH", "D"]) == MODEL.encode(["DH", "D"])


def test_ipa_that_the_set_writes_otherwise_is_understood() -> None:
    # Unstressed vowels, both letters for g, and a tie bar.
    encode = symbol_encoder(MODEL, "ipa")
    assert encode(["ə", "ɚ", "g", "ɡ", "t͡ʃ"]) == MODEL.encode(["AH", "ER", "G", "G", "CH"])
    with pytest.raises(InputError, match="phoneme 'ø' is not in the phoneme set"):
        encode(["ø"])


def test_a_table_of_the_user_names_every_phoneme(tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    table.write_text("# mine\na  ɑ\n\nb\tb\nt͡ʃ c\nz z\n", encoding="utf-8")
    assert symbol_map(["a", "b", "tʃ"], table) == {"a": "ɑ", "b": "b", "tʃ": "c"}
    assert symbol_map(["a", "b"], str(table)) == {"a": "ɑ", "b": "b"}
    with pytest.raises(InputError, match=r"table\.txt: no symbol for d e, which the run"):
        symbol_map(["e", "a", "d"], table)


def test_a_table_of_the_user_follows_a_fold(tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    classes = symbol_map(["AA", "T"], fold="classes")
    table.write_text("".join(f"{name} <{name}>\n" for name in classes.values()))
    folded = symbol_map(["AA", "T"], table, "classes")
    assert folded == {phoneme: f"<{name}>" for phoneme, name in classes.items()}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a\n", "line 1: found 1 columns, expected a phoneme and its symbol"),
        ("a b\na b c\n", "line 2: found 3 columns"),
        ("a b\na c\n", "line 2: found 'c' for 'a', which is 'b' above"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    table = tmp_path / "table.txt"
    table.write_text(content)
    with pytest.raises(InputError, match=problem):
        symbol_map(["a"], table)


def test_what_is_neither_notation_nor_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"symbols: found 'ipaa' \(did you mean 'ipa'\?\)"):
        symbol_map(["a"], "ipaa")
    with pytest.raises(InputError, match=r"no_such\.tsv: cannot be read"):
        symbol_map(["a"], tmp_path / "no_such.tsv")
