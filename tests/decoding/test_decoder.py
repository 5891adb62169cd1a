from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.decoding.decoder import BestSearch, Decoding, confidences, greedy_decode
from phoneme_moe.decoding.document import DecodingDocument
from phoneme_moe.decoding.goodness import GoodnessCalibration
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.decoding.phonemes import BLANK, PhonemeSet
from phoneme_moe.errors import InputError

PHONEMES = PhonemeSet(("a", "b"), has_blank=True)


def collapse(path: tuple[int, ...]) -> list[str]:
    """The CTC map, as its definition reads: join runs, then take out blanks."""
    return ["_ab"[output] for output, _ in groupby(path) if output != BLANK]


def posteriors_along(path: tuple[int, ...], probability: float = 0.6) -> np.ndarray:
    rows = np.full((len(path), 3), (1 - probability) / 2)
    rows[np.arange(len(path)), path] = probability
    return np.log(rows).astype(np.float32)


@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_every_short_path_decodes_to_its_collapse(num_frames: int) -> None:
    for path in product(range(3), repeat=num_frames):
        outputs, _ = greedy_decode(posteriors_along(path))
        assert PHONEMES.decode(outputs) == collapse(path)


def test_the_best_path_is_the_likeliest_of_all_paths() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        log_posteriors = np.log(random.dirichlet(np.ones(3), 5)).astype(np.float32)
        best = max(
            product(range(3), repeat=5),
            key=lambda path: sum(log_posteriors[t, output] for t, output in enumerate(path)),
        )
        outputs, _ = greedy_decode(log_posteriors)
        assert PHONEMES.decode(outputs) == collapse(best)


@given(
    path=st.lists(st.integers(0, 2), min_size=1, max_size=30),
    probability=st.floats(0.4, 1.0),
)
def test_spans_are_in_order_apart_and_sure(path: list[int], probability: float) -> None:
    with np.errstate(divide="ignore"):
        log_posteriors = posteriors_along(tuple(path), probability)
    outputs, spans = greedy_decode(log_posteriors)
    edges = spans.flatten().tolist()
    assert edges == sorted(edges)
    assert all(0 <= edge <= len(path) for edge in edges)
    assert (spans[:, 0] < spans[:, 1]).all()
    sure = confidences(log_posteriors, outputs, spans, 1.0)
    assert sure == pytest.approx(np.full(len(outputs), probability), abs=1e-6)


def test_a_span_covers_the_frames_in_which_its_phoneme_is_likeliest() -> None:
    outputs, spans = greedy_decode(posteriors_along((0, 1, 1, 2, 0, 2)))
    assert PHONEMES.decode(outputs) == ["a", "b", "b"]
    assert spans.tolist() == [[1, 3], [3, 4], [5, 6]]


def test_confidence_is_the_mean_posterior_over_the_frames() -> None:
    log_posteriors = np.log([[0.1, 0.5, 0.4], [0.05, 0.9, 0.05]]).astype(np.float32)
    outputs, spans = greedy_decode(log_posteriors)
    assert confidences(log_posteriors, outputs, spans, 1.0) == pytest.approx([0.7])


def test_temperature_makes_less_or_more_sure_and_keeps_the_order() -> None:
    log_posteriors = np.log([[0.1, 0.5, 0.4], [0.05, 0.05, 0.9]]).astype(np.float32)
    outputs, spans = greedy_decode(log_posteriors)
    sharp, plain, flat = (confidences(log_posteriors, outputs, spans, t) for t in (0.5, 1.0, 4.0))
    # Of a power of the posteriors, by hand: 0.25 / (0.01 + 0.25 + 0.16).
    assert sharp[0] == pytest.approx(0.25 / 0.42, abs=1e-6)
    assert (sharp > plain).all()
    assert (plain > flat).all()
    assert flat[1] > flat[0]


def test_nothing_but_blanks_is_nothing() -> None:
    outputs, spans = greedy_decode(posteriors_along((0, 0, 0)))
    assert outputs == []
    assert spans.shape == (0, 2)
    assert len(confidences(posteriors_along((0, 0, 0)), outputs, spans, 1.0)) == 0


def test_decoding_goes_through_json() -> None:
    ngram = PhonemeNgram.estimate([["a", "b"], ["b"]], ("a", "b"), 2)
    decoding = Decoding(0.7, ngram, 0.4, -0.5, 8, goodness=GoodnessCalibration(0.6, 1.4))
    assert (
        Decoding.from_document(
            DecodingDocument.parse(decoding.to_document().model_dump(mode="json"), "here"), "here"
        )
        == decoding
    )
    assert (
        Decoding.from_document(
            DecodingDocument.parse(Decoding().to_document().model_dump(mode="json"), "here"), "here"
        )
        == Decoding()
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2),
        ("temperature", 0),
        ("temperature", "warm"),
        ("temperature", float("nan")),
        ("weight", -1),
        ("bonus", None),
        ("bonus", True),
        ("language_model", []),
        ("beam", 0),
        ("beam", True),
        ("beam", 2.5),
        ("goodness", {"slope": -1.0, "intercept": 0.0}),
        ("goodness", {"slope": 1.0}),
    ],
)
def test_decoding_that_does_not_hold_is_refused_by_its_key(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"here.*{key}"):
        Decoding.from_document(
            DecodingDocument.parse(
                Decoding().to_document().model_dump(mode="json") | {key: value}, "here"
            ),
            "here",
        )


@pytest.mark.parametrize("best", [None, BestSearch(256, True, 4)])
def test_the_best_search_is_in_the_document_if_there_is_one(best: BestSearch | None) -> None:
    decoding = Decoding(beam=16, minimum_bayes_risk=True, best=best)
    data = decoding.to_document().model_dump(mode="json")
    assert ("best" in data) == (best is not None)
    assert Decoding.from_document(DecodingDocument.parse(data, "here"), "here") == decoding
    assert decoding.with_best().beam == (16 if best is None else 256)
