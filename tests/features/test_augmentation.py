from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phoneme_moe.features.augmentation import (
    Augment,
    change_speed,
    cut_quiet_ends,
    random_gaps,
    warp_bands,
)

LENGTHS = (40, 25, 1, 3)


def padded_batch() -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    features = torch.randn(len(LENGTHS), max(LENGTHS), 8) + 5
    return features * mask[..., None], mask


FULL = Augment(
    quiet_ends=0.5,
    speed=0.2,
    vocal_tract=0.1,
    time_masks=2,
    time_mask_frames=6,
    band_masks=2,
    band_mask_bands=3,
)


def test_without_options_nothing_changes() -> None:
    features, mask = padded_batch()
    changed, changed_mask = Augment()(features, mask)
    assert torch.equal(changed, features)
    assert torch.equal(changed_mask, mask)


def test_views_have_one_length_and_masks_of_their_own() -> None:
    torch.manual_seed(0)
    features, mask = padded_batch()
    changed, changed_mask = FULL(features, mask, views=2)
    first, second = changed.chunk(2)
    assert len(changed) == 2 * len(features)
    assert torch.equal(*changed_mask.chunk(2))
    assert not torch.equal(first, second)
    assert not changed[~changed_mask].any()


def test_views_have_the_same_speed_and_trimming() -> None:
    features, mask = padded_batch()
    first, second = Augment(quiet_ends=0.5, speed=0.2)(features, mask, views=2)[0].chunk(2)
    assert torch.equal(first, second)


def word(before: int, loud: int, after: int, padding: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Quiet, loud with a quiet frame in it, quiet; each frame is identified by its size."""
    level = [-1.0] * before + [2.0] * loud + [-1.0] * after
    level[before + loud // 2] = -0.5
    frames = torch.tensor(level) * torch.linspace(1, 2, len(level))
    features = frames[None, :, None].expand(1, len(level), 3)
    mask = torch.arange(len(level) + padding)[None] < len(level)
    return torch.nn.functional.pad(features, (0, 0, 0, padding)), mask


@given(
    before=st.integers(0, 6),
    loud=st.integers(3, 8),
    after=st.integers(0, 6),
    padding=st.integers(0, 4),
    seed=st.integers(0, 1000),
)
def test_only_quiet_ends_are_cut_and_what_is_left_is_in_order(
    before: int, loud: int, after: int, padding: int, seed: int
) -> None:
    torch.manual_seed(seed)
    features, mask = word(before, loud, after, padding)
    cut, cut_mask = cut_quiet_ends(features, mask, 1.0)
    kept = cut[0, cut_mask[0], 0].tolist()
    whole = features[0, mask[0], 0].tolist()
    start = whole.index(kept[0])
    assert whole[start : start + len(kept)] == kept
    assert start <= before
    assert start + len(kept) >= before + loud
    assert not cut[~cut_mask].any()


def test_every_amount_of_quiet_is_cut_from_the_given_share_of_utterances() -> None:
    torch.manual_seed(0)
    features, mask = word(4, 5, 3)
    many, many_mask = features.expand(4000, -1, -1), mask.expand(4000, -1)
    _, cut_mask = cut_quiet_ends(many, many_mask, 1.0)
    assert sorted(set(cut_mask.sum(1).tolist())) == list(range(5, 13))
    _, cut_mask = cut_quiet_ends(many, many_mask, 0.3)
    # Of those cut, 1 in 20 loses nothing.
    changed = (cut_mask.sum(1) < 12).float().mean().item()
    assert changed == pytest.approx(0.3 * 19 / 20, abs=0.03)
    same, same_mask = cut_quiet_ends(many, many_mask, 0.0)
    assert torch.equal(same, many)
    assert torch.equal(same_mask, many_mask)


def test_an_utterance_without_a_loud_frame_is_left_alone() -> None:
    features, mask = -torch.ones(2, 6, 3), torch.ones(2, 6, dtype=torch.bool)
    cut, cut_mask = cut_quiet_ends(features, mask, 1.0)
    assert torch.equal(cut, features)
    assert torch.equal(cut_mask, mask)


def test_a_speed_change_of_nothing_is_the_identity() -> None:
    features, mask = padded_batch()
    changed, changed_mask = change_speed(features, mask, 0.0)
    torch.testing.assert_close(changed, features, atol=1e-5, rtol=0)
    assert torch.equal(changed_mask, mask)


@given(largest=st.floats(0.01, 0.5), seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_speed_keeps_the_first_and_the_last_frame(largest: float, seed: int) -> None:
    torch.manual_seed(seed)
    features, mask = padded_batch()
    changed, changed_mask = change_speed(features, mask, largest)
    for row, old in enumerate(LENGTHS):
        new = int(changed_mask[row].sum())
        assert old / (1 + largest) - 1 <= new <= old / (1 - largest) + 1
        torch.testing.assert_close(changed[row, 0], features[row, 0], atol=1e-5, rtol=0)
        if new > 1:
            torch.testing.assert_close(
                changed[row, new - 1], features[row, old - 1], atol=1e-3, rtol=0
            )


def test_speed_interpolates_between_frames() -> None:
    ramp = torch.arange(40.0)[None, :, None].expand(3, 40, 2)
    changed, mask = change_speed(ramp, torch.ones(3, 40, dtype=torch.bool), 0.3)
    for row in range(3):
        num_frames = int(mask[row].sum())
        expected = torch.linspace(0, 39, num_frames)
        torch.testing.assert_close(changed[row, :num_frames, 0], expected, atol=1e-3, rtol=0)


@given(seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_padding_stays_zero_and_real_frames_come_first(seed: int) -> None:
    torch.manual_seed(seed)
    changed, mask = FULL(*padded_batch())
    assert (changed[~mask] == 0).all()
    assert changed.isfinite().all()
    lengths = mask.sum(dim=1)
    assert torch.equal(mask, torch.arange(mask.shape[1]) < lengths[:, None])
    assert (lengths > 0).all()


def test_a_seed_reproduces_and_another_differs() -> None:
    features, mask = padded_batch()
    changed = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        changed.append(FULL(features, mask)[0])
    assert torch.equal(changed[0], changed[1])
    assert changed[0].shape != changed[2].shape or not torch.equal(changed[0], changed[2])


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    count=st.integers(1, 3),
    longest=st.integers(0, 9),
    seed=st.integers(0, 1000),
)
@settings(max_examples=50)
def test_gaps_lie_within_their_row_and_are_not_too_long(
    lengths: list[int], count: int, longest: int, seed: int
) -> None:
    torch.manual_seed(seed)
    keep = random_gaps(torch.tensor(lengths), 30, count, longest)
    assert keep.shape == (len(lengths), 30)
    for row, length in zip(keep, lengths, strict=True):
        assert (~row).sum() <= count * longest
        if length >= longest:
            assert row[length:].all()


def test_gaps_of_every_length_occur_everywhere() -> None:
    torch.manual_seed(0)
    keep = random_gaps(torch.full((4000,), 10), 10, 1, 4)
    assert set((~keep).sum(dim=1).tolist()) == {0, 1, 2, 3, 4}
    assert (~keep).any(dim=0).all()


def test_time_masks_blank_whole_frames_and_band_masks_whole_bands() -> None:
    torch.manual_seed(0)
    features, mask = torch.ones(50, 30, 8), torch.ones(50, 30, dtype=torch.bool)
    frames = Augment(time_masks=1, time_mask_frames=5)(features, mask)[0]
    assert torch.equal(frames.amax(dim=2), frames.amin(dim=2))
    assert 0 < (frames == 0).sum() < frames.numel() / 3
    bands = Augment(band_masks=1, band_mask_bands=3)(features, mask)[0]
    assert torch.equal(bands.amax(dim=1), bands.amin(dim=1))
    assert 0 < (bands == 0).sum() < bands.numel() / 2


def test_a_vocal_tract_change_of_nothing_is_the_identity() -> None:
    features, _ = padded_batch()
    assert torch.equal(warp_bands(features, 0.0), features)


@pytest.mark.parametrize("largest", [0.05, 0.3])
def test_another_vocal_tract_moves_a_peak_in_proportion_to_its_band(largest: float) -> None:
    torch.manual_seed(0)
    # On a ramp over the bands the value read is the position it was read from.
    ramp = torch.arange(20.0).expand(100, 2, 20)
    warped = warp_bands(ramp, largest)
    factors = warped[:, 0, 10] / 10
    assert (factors > 1 - largest - 1e-6).all()
    assert (factors < 1 + largest + 1e-6).all()
    assert factors.std() > largest / 4
    expected = (factors[:, None] * torch.arange(20)).clamp_max(19)
    torch.testing.assert_close(warped[:, 0], expected, atol=1e-4, rtol=0)
    assert torch.equal(warped[:, 0], warped[:, 1])
