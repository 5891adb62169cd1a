from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import load_examples, load_waveforms
from phoneme_moe.errors import ArgumentError
from phoneme_moe.pipeline import Trained
from phoneme_moe.report.collect.observe import Observation, observe
from phoneme_moe.report.utterance_views import (
    OF_A_KIND,
    UtteranceSummary,
    audio_file,
    choose_utterances,
    entropy_bits,
    summarize_utterance,
    view,
)


@pytest.fixture(scope="module")
def observed(recognized: Trained, tones: PreparedCorpus) -> list[Observation]:
    run = recognized.run
    return list(observe(run.recognizer, load_examples(run.recipe, tones, "test", run.recognizer)))


def planted(
    name: str, speaker: str, weights: list[float], entropy: float, rate: float
) -> UtteranceSummary:
    return UtteranceSummary(name, speaker, 1.0, np.array(weights), entropy, rate)


def test_the_chosen_are_typical_uncertain_and_worst() -> None:
    summaries = [
        planted("a1", "a", [1, 0], 0.1, 0.2),
        planted("a2", "a", [0.9, 0.1], 0.2, 0.0),
        planted("a3", "a", [0.8, 0.2], 0.3, 0.9),
        planted("b1", "b", [0.5, 0.5], 1.0, 0.1),
        planted("b2", "b", [0.0, 1.0], 0.0, 0.5),
        planted("b3", "b", [0.25, 0.75], 0.8, 0.0),
    ]
    chosen = choose_utterances(summaries)
    assert chosen == [
        ("b3", "typical"),
        ("a2", "typical"),
        ("b1", "uncertain"),
        ("a3", "uncertain"),
        ("b2", "worst"),
        ("a1", "worst"),
    ]
    assert choose_utterances(summaries, ["a1"])[0] == ("a1", "asked")
    assert len({name for name, _ in choose_utterances(summaries, ["a1"])}) == len(
        choose_utterances(summaries, ["a1"])
    )


def test_what_is_misrecognised_is_not_typical() -> None:
    # Tokens: the one nearest to the speaker's weights is the only wrong one.
    summaries = [
        planted("a1", "a", [0.5, 0.5], 0, 1.0),
        planted("a2", "a", [0.4, 0.6], 0, 0.0),
        planted("a3", "a", [0.6, 0.4], 0, 0.0),
    ]
    assert ("a1", "typical") not in choose_utterances(summaries)


def test_an_utterance_that_is_not_there_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"^utterance: no utterance 'a2'.*a1"):
        choose_utterances([planted("a1", "a", [1.0], 0, 0)], ["a2"])


def test_entropy_in_bits() -> None:
    rows = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4], dtype=np.float32)
    np.testing.assert_allclose(entropy_bits(rows), [0, 1, 2])


def test_a_view_shows_what_the_model_went_through(
    recognized: Trained, tones: PreparedCorpus, observed: list[Observation]
) -> None:
    run, one = recognized.run, observed[3]
    name = one.example.utterance
    sounds = load_waveforms(run.recipe, tones, "test", run.recognizer, [name])
    (cut,) = [cut for cut in tones.cuts("test") if cut.id == name]
    np.testing.assert_allclose(sounds[name], cut.load_audio()[0], atol=1e-4)
    shown = view(run.recognizer, one, sounds[name], "typical")
    assert shown.seconds == pytest.approx(cut.duration)
    np.testing.assert_allclose(shown.weights, one.routing.weights, atol=1e-4)
    assert [(s.phoneme, s.start) for s in shown.reference] == [
        (item.symbol, pytest.approx(item.start, abs=1e-4))
        for item in cut.supervisions[0].alignment["phoneme"]
    ]
    recognized_phonemes = [segment.phoneme for segment in shown.hypothesis]
    assert recognized_phonemes == list(one.hypothesis)
    for segment in shown.reference + shown.hypothesis:
        assert 0 <= segment.start < segment.end <= shown.seconds
    outline = shown.envelope
    assert max(outline.high) == 1 or min(outline.low) == -1
    picture = shown.spectrogram
    pixels = np.frombuffer(base64.b64decode(picture.base64), np.uint8)
    assert pixels.size == picture.bands * picture.columns
    assert pixels.max() == 255
    assert picture.columns * picture.seconds_per_column == pytest.approx(shown.seconds, abs=0.02)


def test_a_token_is_one_row_as_long_as_its_sound(
    classified: Trained, tones: PreparedCorpus
) -> None:
    run = classified.run
    one = next(observe(run.recognizer, load_examples(run.recipe, tones, "test", run.recognizer)))
    name = one.example.utterance
    sound = load_waveforms(run.recipe, tones, "test", run.recognizer, [name])[name]
    assert len(sound) == run.recognizer.token_samples
    shown = view(run.recognizer, one, sound, "worst")
    assert len(shown.weights) == 1
    assert shown.frame_seconds == shown.seconds == pytest.approx(run.recipe.task.token_ms / 1e3)
    assert [s.phoneme for s in shown.hypothesis] == list(one.hypothesis)


def test_the_audio_of_a_view_is_the_sound(observed: list[Observation]) -> None:
    time = np.arange(8000) / 8000
    sound = (1.7 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)  # louder than a file can hold
    played, rate = soundfile.read(io.BytesIO(audio_file(sound, 8000)))
    assert rate == 48000
    assert len(played) == pytest.approx(48000, abs=960)
    middle = np.abs(np.fft.rfft(played[12000:36000]))
    assert middle.argmax() == pytest.approx(220, abs=1)  # of half a second
    assert 0.7 < np.abs(played).max() <= 1.0


def test_real_utterances_are_chosen_of_each_kind(observed: list[Observation]) -> None:
    chosen = choose_utterances([summarize_utterance(one) for one in observed])
    kinds = [why for _, why in chosen]
    assert kinds.count("typical") == kinds.count("uncertain") == OF_A_KIND
