"""Plausible report documents (routing.json, version 2) of any size, from a seed."""

from __future__ import annotations

import base64
import io
from itertools import pairwise
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage

PHONEMES = ("a", "e", "i", "o", "u", "k", "s", "t", "n", "m", "r", "sh", "ts", "ng")
FRAME = 0.01


def make_document(
    speakers: int = 6, experts: int | None = None, seed: int = 0, layers: int = 3
) -> dict[str, Any]:
    """A document with every section: most speakers own an expert, one borrows, one is a blend."""
    random = np.random.default_rng(seed)
    owned = experts is None
    num_experts = speakers if experts is None else experts
    speaker_names = [f"speaker_{i:03}" for i in range(speakers)]
    if speakers == 6:
        speaker_names = ["mht", "fsu", "ann", "bob", "mrk", "jackson"]
    expert_names = speaker_names[:] if owned else [f"expert_{i:02}" for i in range(num_experts)]
    weights = random.dirichlet(np.full(num_experts, 0.25), speakers)
    if owned:
        weights = 0.1 * weights + 0.9 * np.eye(speakers)
        weights[0] = 0.1 * weights[0] + 0.9 * np.roll(np.eye(speakers)[0], 1)
        weights[-1] = 0.2 * weights[-1] + 0.4 * (weights[1 % speakers] + weights[2 % speakers])
        weights /= weights.sum(axis=1, keepdims=True)
    rows = random.integers(4000, 9000, speakers)
    utterances = rows // 40
    load = (weights * rows[:, None]).sum(axis=0) / rows.sum()
    tilt = random.dirichlet(np.full(num_experts, 0.5), len(PHONEMES))
    crossed = 0.8 * weights[:, None] + 0.2 * tilt[None]
    crossed_rows = random.integers(50, 300, (speakers, len(PHONEMES)))
    crossed_rows[-1, 3] = 0 if speakers > 1 else 50
    phoneme_weights = (crossed * crossed_rows[..., None]).sum(axis=0)
    phoneme_weights /= crossed_rows.sum(axis=0)[:, None]
    effective = np.exp(entropy(weights))
    mixing = random.uniform(0.1, 0.95, speakers)
    half = 0.03 * random.uniform(0.5, 1, weights.shape)
    adjusted = np.abs(weights + random.normal(0, 0.02, weights.shape))
    adjusted /= adjusted.sum(axis=1, keepdims=True)
    best = weights.argmax(axis=1)
    own = [float(weights[i, i]) if owned else None for i in range(speakers)]
    tree = linkage(weights, "average") if speakers > 1 else np.zeros((0, 4))
    borrowed = [
        expert_names[best[i]]
        if owned and best[i] != i and weights[i, best[i]] > 2 * own[i]
        else None
        for i in range(speakers)
    ]
    users = [[speaker_names[s] for s in np.flatnonzero(best == e)] for e in range(num_experts)]
    utterance_list = [
        make_utterance(
            f"{speaker_names[i % speakers]}-take-{i:02}",
            speaker_names[i % speakers],
            why,
            num_experts,
            seed + i,
        )
        for i, why in enumerate(("typical", "uncertain", "worst"))
    ]
    return {
        "version": 2,
        "title": "hampshire_waibel on six speakers, split test",
        "facts": {"run": "runs/hampshire_waibel", "corpus": "six_speakers", "split": "test"},
        "unit": "frame",
        "num_rows": int(rows.sum()),
        "num_utterances": int(utterances.sum()),
        "speakers": speaker_names,
        "experts": expert_names,
        "phonemes": list(PHONEMES),
        "weights": weights.tolist(),
        "counts": {"rows": rows.tolist(), "utterances": utterances.tolist()},
        "most_used": [expert_names[i] for i in best],
        "effective_experts": effective.tolist(),
        "effective_per_row": (effective**mixing).tolist(),
        "own_share": own,
        "borrowed_from": borrowed,
        "blended": (weights.max(axis=1) < 0.5).tolist(),
        "load": load.tolist(),
        "users": users,
        "dead": [
            n
            for n, part, who in zip(expert_names, load, users, strict=True)
            if part < 0.1 / num_experts and not who
        ],
        "phoneme_weights": phoneme_weights.tolist(),
        "phoneme_counts": {
            "rows": crossed_rows.sum(axis=0).tolist(),
            "utterances": (crossed_rows.sum(axis=0) // 4).tolist(),
        },
        "speaker_phoneme_weights": [
            [w.round(6).tolist() if n else None for w, n in zip(ws, ns, strict=True)]
            for ws, ns in zip(crossed, crossed_rows, strict=True)
        ],
        "speaker_phoneme_rows": crossed_rows.tolist(),
        "verdict": [
            f"{speaker_names[1 % speakers]} and two others are served mainly by their own experts "
            "(89–96 % of the weight).",
            f"One speaker with an expert of its own borrows instead: {speaker_names[0]} from "
            f"{expert_names[1 % num_experts]} 81 % (own expert: 9 %).",
            "The pattern is more than chance and stands beyond the phoneme mix (0.9 bits).",
        ],
        "missing": ["No expert has posteriors of its own in this layer, so credit is left out."],
        "weight_intervals": np.stack(
            [(weights - half).clip(0), (weights + half).clip(max=1)], axis=-1
        ).tolist(),
        "adjusted_weights": adjusted.tolist(),
        "adjusted_phonemes": list(PHONEMES[:9]),
        "clustering": {
            "speaker_order": leaves_list(tree).tolist() if speakers > 1 else [0],
            "expert_order": random.permutation(num_experts).tolist(),
            "linkage": tree.tolist(),
        },
        "mixing": mixing.tolist(),
        "contribution": make_contribution(weights, random),
        "tests": make_tests(speaker_names if owned else [], random),
        "edges": make_pair("steady", "edge", load, random),
        "correctness": make_pair("right", "wrong", load, random) | {"unjudged": 52_000},
        "utterances": utterance_list,
        "training": make_training(num_experts, layers, random),
        "layers": make_layers(layers, num_experts, random),
        "cost": {
            "parameters": 1_830_000,
            "active_parameters": 640_000,
            "multiply_adds_per_frame": 642_000,
            "frame_ms": 10.0,
            "weight_bytes": 7_320_000,
        },
    }


def entropy(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nats."""
    return -(weights * np.log(np.where(weights > 0, weights, 1))).sum(axis=-1)


def make_utterance(
    name: str, speaker: str, why: str, num_experts: int, seed: int, seconds: float = 2.4
) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    frames = round(seconds / FRAME)
    walk = np.cumsum(random.normal(0, 0.35, (frames, num_experts)), axis=0)
    walk[:, seed % num_experts] += 4
    weights = np.exp(walk - walk.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    ends = np.sort(random.choice(np.arange(8, frames - 8), 15, replace=False)) * FRAME
    spans = [
        {"phoneme": str(random.choice(PHONEMES)), "start": float(a), "end": float(b)}
        for a, b in pairwise(ends)
    ]
    heard = [dict(span) for span in spans]
    for i in random.choice(len(heard), 3, replace=False):
        heard[i]["phoneme"] = str(random.choice(PHONEMES))
    loud = np.interp(
        np.linspace(0, seconds, 480),
        [0, *ends, seconds],
        [0.02, *random.uniform(0.2, 0.9, len(ends)), 0.02],
    )
    bands, columns = 40, frames
    ridge = 12 + 8 * np.sin(np.linspace(0, 9, columns)) + np.arange(3)[:, None] * 9
    level = np.exp(-((np.arange(bands)[:, None, None] - ridge[None]) ** 2) / 8).sum(axis=1)
    level = level * np.interp(np.arange(columns), np.linspace(0, columns, 480), loud)
    level = 255 * (level / level.max()) ** 0.5 + random.normal(0, 8, level.shape)
    picture = level.clip(0, 255).astype(np.uint8)
    return {
        "utterance": name,
        "speaker": speaker,
        "why": why,
        "seconds": seconds,
        "frame_seconds": FRAME,
        "error_rate": 0.2,
        "envelope": {
            "seconds_per_point": seconds / 480,
            "low": (-loud * random.uniform(0.7, 1, 480)).tolist(),
            "high": (loud * random.uniform(0.7, 1, 480)).tolist(),
        },
        "spectrogram": {
            "seconds_per_column": FRAME,
            "bands": bands,
            "columns": columns,
            "base64": base64.b64encode(picture.tobytes()).decode(),
        },
        "reference": spans,
        "hypothesis": heard,
        "weights": weights.round(4).tolist(),
        "entropy": (entropy(weights) / np.log(2)).round(4).tolist(),
    }


def make_contribution(weights: NDArray[np.float64], random: np.random.Generator) -> dict[str, Any]:
    credit = weights**1.2
    credit /= credit.sum(axis=1, keepdims=True)
    removal = []
    for expert in range(weights.shape[1]):
        change = float(random.normal(0.03, 0.03))
        removal.append(
            {
                "expert": expert,
                "error_rate": 0.12 + change,
                "change": change,
                "interval": [change - 0.02, change + 0.02],
                "by_speaker": [None, *random.normal(0, 0.04, len(weights) - 1).tolist()],
            }
        )
    return {
        "credit": credit.tolist(),
        "base_error_rate": 0.12,
        "removal": removal,
        "removal_utterances": 300,
    }


def make_tests(owners: list[str], random: np.random.Generator) -> list[dict[str, Any]]:
    tests = []
    for name, scope in [
        ("speaker_information", None),
        ("phoneme_information", None),
        ("speaker_beyond_phonemes", None),
        ("interaction", None),
        ("cramers_v", None),
        *(("own_share", owner) for owner in owners),
    ]:
        value, chance = float(random.uniform(0.2, 1.2)), float(random.uniform(0.01, 0.15))
        p = float(random.choice([0.001, 0.004, 0.3]))
        tests.append(
            {
                "name": name,
                "scope": scope,
                "value": value,
                "chance": chance,
                "corrected": value - chance,
                "unit": "" if name in ("cramers_v", "own_share") else "bits",
                "p": p,
                "q": min(1.0, p * 1.8),
                "significant": p * 1.8 <= 0.05,
                "draws": 999,
            }
        )
    return tests


def make_pair(
    one: str, two: str, load: NDArray[np.float64], random: np.random.Generator
) -> dict[str, Any]:
    other = np.abs(load + random.normal(0, 0.04, len(load)))
    return {
        one: {"rows": 21000, "weights": load.tolist()},
        two: {"rows": 9000, "weights": (other / other.sum()).tolist()},
    }


def make_training(num_experts: int, layers: int, random: np.random.Generator) -> dict[str, Any]:
    epochs = [f"experts {i + 1}" for i in range(8)] + [f"gate {i + 1}" for i in range(12)]
    falling = np.linspace(0, 1, len(epochs))
    return {
        "epochs": epochs,
        "layers": [
            {
                "layer": f"block_{layer}",
                "load": [
                    None if i < 2 else row.tolist()
                    for i, row in enumerate(
                        random.dirichlet(np.full(num_experts, 30.0), len(epochs))
                    )
                ],
                "entropy": (num_experts ** (1 - 0.7 * falling) + 0.2 * layer).tolist(),
                "variation": (0.2 + 0.1 * layer + 0.3 * falling).tolist(),
                "dead": (falling * layer).astype(int).tolist(),
            }
            for layer in range(layers)
        ],
    }


def make_layers(layers: int, num_experts: int, random: np.random.Generator) -> dict[str, Any]:
    load = random.dirichlet(np.full(num_experts, 2.0), layers)
    agreement = random.uniform(0.1, 0.6, (layers, layers))
    agreement = (agreement + agreement.T) / 2
    np.fill_diagonal(agreement, 1.0)
    return {
        "names": [f"block_{i}" for i in range(layers)],
        "experts": [num_experts] * layers,
        "load": load.tolist(),
        "effective": np.exp(entropy(load)).tolist(),
        "dead": [[0] if i == 1 else [] for i in range(layers)],
        "agreement": agreement.tolist(),
    }


def make_sound(seconds: float = 2.4, rate: int = 16000) -> bytes:
    """A WAV file with a rising tone."""
    time = np.arange(round(seconds * rate)) / rate
    content = io.BytesIO()
    wave = 0.2 * np.sin(2 * np.pi * (200 + 100 * time) * time)
    soundfile.write(content, wave, rate, format="WAV", subtype="PCM_16")
    return content.getvalue()
