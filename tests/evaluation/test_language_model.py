"""The n-gram of a run: order, text, weight; texts of files and of the package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.corpora.text import locate_text, read_phoneme_text
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation import language_model
from phoneme_moe.evaluation.language_model import (
    NGRAM_ORDER,
    estimate_ngram,
    interpolate_text,
    read_text,
)
from phoneme_moe.pipeline import train
from phoneme_moe.recipe import LanguageModel, load_recipe

RECOGNIZE = tiny.RECIPES / "tiny_recognize.yaml"
SYMBOLS = tuple("abcdefgh")


def sentences(number: int, seed: int = 0, length: int = 9) -> list[list[str]]:
    """Sentences of a Markov chain with three followers of each symbol."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(number):
        line = [int(rng.integers(8))]
        for _ in range(length - 1):
            line.append((line[-1] * 3 + int(rng.integers(3))) % 8)
        lines.append([SYMBOLS[i] for i in line])
    return lines


def test_the_ngram_of_much_speech_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    references = [[SYMBOLS[i] for i in rng.integers(8, size=9)] for _ in range(400)]
    assert estimate_ngram(references, SYMBOLS).order == NGRAM_ORDER
    limit = len(PhonemeNgram.estimate(references, SYMBOLS, 3).counts)
    monkeypatch.setattr(language_model, "MAX_NGRAMS", limit)
    assert estimate_ngram(references, SYMBOLS).order == 3
    monkeypatch.setattr(language_model, "MAX_NGRAMS", 1)  # a bigram in any case
    assert estimate_ngram(references, SYMBOLS).order == 2


def test_text_of_the_same_language_makes_dev_less_surprising() -> None:
    few = estimate_ngram(sentences(20), SYMBOLS)
    dev = sentences(50, seed=1)
    both = interpolate_text(few, sentences(2_000, seed=2), dev)
    assert both.text is not None
    assert both.perplexity(dev) < 0.9 * few.perplexity(dev)
    assert both.counts == few.counts


def test_text_of_another_language_is_left_out() -> None:
    ngram = estimate_ngram(sentences(2_000), SYMBOLS)
    other = [["h", "h", "h", "h"] for _ in range(100)]
    assert interpolate_text(ngram, other, sentences(50, seed=1)) == ngram


def test_of_much_text_the_ngrams_seen_most_often_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    ngram, dev, text = estimate_ngram(sentences(20), SYMBOLS), sentences(50, 1), sentences(500, 2)
    whole = interpolate_text(ngram, text, dev)
    assert whole.text is not None
    monkeypatch.setattr(language_model, "MAX_TEXT_NGRAMS", 200)
    part = interpolate_text(ngram, text, dev)
    assert part.text is not None
    assert 0 < len(part.text.counts) <= 200 < len(whole.text.counts)
    left_out = whole.text.counts.keys() - part.text.counts.keys()
    assert max(whole.text.counts[gram] for gram in left_out) < min(part.text.counts.values())


def test_the_text_of_the_package_is_in_the_phonemes_of_english() -> None:
    text = read_phoneme_text("english")
    assert len(text) > 10_000
    symbols = {phoneme for sentence in text for phoneme in sentence}
    assert len(symbols) == 39
    assert {"AA", "ZH", "NG", "HH"} <= symbols
    assert (locate_text("english").parent / "README.md").is_file()  # where it is from


def test_words_are_looked_up_and_sentences_with_unknown_ones_left_out(tmp_path: Path) -> None:
    text, lexicon = tmp_path / "text.txt", tmp_path / "words.dict"
    text.write_text("a cat\nA dog, a cat!\nthe cat\n")
    lexicon.write_text("a AH0\ncat K AE1 T\ncat(2) K AA T\ndog D AO G\n")
    found = read_phoneme_text(str(text), str(lexicon))
    assert found == [("AH", "K", "AE", "T"), ("AH", "D", "AO", "G", "AH", "K", "AE", "T")]
    with pytest.raises(InputError, match="1 words are not in the lexicon: the"):
        read_phoneme_text(str(text), str(lexicon), "refuse")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"nothing\.txt: found no such file, and no text of this name"),
        ("", "found no sentence that can be used"),
        ("a x\n", r"task\.language_model: .*text\.txt: found the phoneme 'x', expected those of"),
    ],
    ids=["missing", "empty", "phoneme"],
)
def test_texts_that_cannot_be_used_are_refused(
    tmp_path: Path, text: str | None, message: str
) -> None:
    file = tmp_path / "text.txt"
    if text is None:
        file = tmp_path / "nothing.txt"
    else:
        file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_text(LanguageModel(text=str(file)), PhonemeSet(("a", "i"), has_blank=True))


def test_tokens_have_no_language_model() -> None:
    change = "task.language_model={text: english}"
    with pytest.raises(InputError, match=r"language_model: tokens .* have no beam search"):
        load_recipe(tiny.RECIPES / "tiny_classify.yaml", [change])


@pytest.mark.slow
def test_a_run_has_the_text_in_its_ngram(tones: PreparedCorpus, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    lines = [" ".join(cut.supervisions[0].custom["phonemes"]) for cut in tones.cuts("dev")]
    text.write_text("\n".join(lines) + "\n")
    changes = [f"task.language_model={{text: {text}}}", "training.stages.joint.epochs=2"]
    recipe = (
        load_recipe(RECOGNIZE, changes)
        if "joint" in RECOGNIZE.read_text()
        else load_recipe(RECOGNIZE, changes[:1])
    )
    run = train(recipe, tmp_path / "run", device="cpu").run
    ngram = run.decoding.language_model
    assert ngram is not None
    assert ngram.text is not None
    stored = json.loads((tmp_path / "run" / "decoding.json").read_text())["language_model"]["text"]
    assert stored["weight"] == ngram.text.weight
    text.unlink()  # not needed any more
    assert run.evaluate("test").total.error_rate <= 1
    with pytest.raises(InputError, match=r"text\.txt: found no such file"):
        train(recipe, tmp_path / "again", device="cpu")
