"""Cross-checks between the sections of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phoneme_moe.recipe.encoder import EncoderSection
from phoneme_moe.recipe.model import Adapters
from phoneme_moe.recipe.training import Stage
from phoneme_moe.recipe.training_speech import Augmentation

if TYPE_CHECKING:
    from phoneme_moe.recipe.data import Recipe

TDNN = {"classify": "tdnn_1989", "recognize": "tdnn"}
"""The time-delay network for each task; all other kinds of network apply to both."""


def check_networks(recipe: Recipe) -> None:
    """Checks that the networks fit the task.

    Raises:
        ValueError: A network does not fit the task; the message names the key.
    """
    task, features, model = recipe.task, recipe.features, recipe.model
    if model.encoder is not None:
        if task.kind != "recognize":
            raise ValueError("model.encoder is for task.kind recognize; tokens need a tdnn_1989")
        if model.adapters is not None and features.kind != "pretrained":
            raise ValueError(
                "model.adapters are inside a pretrained encoder: expected features.kind: "
                f"pretrained, found {features.kind}"
            )
        sparse = model.encoder.sparse
        sees = sparse is not None and sparse.router.sees == "embedding"
        if sees and recipe.corpus.embeddings is None:
            raise ValueError(
                "corpus.embeddings: found none, but model.encoder.sparse.router needs embeddings; "
                "expected a safetensors file"
            )
        return
    for network in (model.expert, model.gate):
        if network is None:
            continue
        if network.kind in set(TDNN.values()) - {TDNN[task.kind]}:
            raise ValueError(
                f"model: a {network.kind} network cannot {task.kind}; use {TDNN[task.kind]}, "
                "linear or feed_forward"
            )
        frames = int(task.token_ms / features.hop_ms + 1e-6)
        if network.kind == "tdnn_1989" and frames < sum(network.windows) - 1:
            raise ValueError(
                f"task.token_ms: found {task.token_ms} ms, {frames} frames; "
                f"windows {list(network.windows)} need {sum(network.windows) - 1}"
            )
    if task.kind == "classify" and features.kind != "log_mel":
        raise ValueError("features.kind must be log_mel for task.kind classify")
    if task.kind == "classify" and features.stack != 1:
        raise ValueError("features.stack must be 1 for task.kind classify")
    if model.gate is not None and model.gate.kind == "speaker":
        if model.num_experts != "speakers":
            raise ValueError("model.gate: kind: speaker needs model.num_experts: speakers")
        if recipe.corpus.held_out_speakers:
            raise ValueError(
                "corpus.held_out_speakers: model.gate is of kind speaker and has no expert for them"
            )


def check_teacher(recipe: Recipe) -> None:
    """Checks that there is an encoder to learn from a teacher.

    Raises:
        ValueError: There is none, or it takes the pretrained features themselves.
    """
    if recipe.training.teacher is None:
        return
    if recipe.model.encoder is None:
        raise ValueError("training.teacher is for an encoder (model.encoder); expected none")
    if recipe.training.teacher.run is not None:
        return
    if recipe.features.kind != "log_mel" or recipe.features.sample_rate != 16_000:
        raise ValueError(
            "training.teacher: expected log mel features at 16 kHz (features.sample_rate), from "
            "which the model predicts those of the teacher"
        )
    frame_ms = recipe.features.hop_ms * recipe.features.stack
    if frame_ms % 20:
        raise ValueError(
            f"training.teacher: found frames of {frame_ms:g} ms (features.hop_ms and stack), "
            "expected a multiple of 20 ms, the frames of the teacher"
        )


def check_stream(recipe: Recipe) -> None:
    """Checks that training does not need all utterances at once.

    Raises:
        ValueError: It does; the message names the key.
    """
    if recipe.training.stream is None:
        return
    needs_all = {
        "task.kind: classify": recipe.task.kind == "classify",
        "features.kind: pretrained": recipe.features.kind == "pretrained",
        "corpus.max_utterances": recipe.corpus.max_utterances is not None,
        "training.teacher": recipe.training.teacher is not None,
        "optimizer: em": any(s.optimizer == "em" for s in recipe.training.stages),
        "pronunciations: likeliest": any(
            s.pronunciations == "likeliest" for s in recipe.training.stages
        ),
    }
    for setting, is_set in needs_all.items():
        if is_set:
            raise ValueError(
                f"training.stream: found {setting}, which needs all utterances at once; expected "
                "another setting, or no stream"
            )


def check_stage(recipe: Recipe, stage: Stage) -> None:
    """Checks that a stage can train its parts.

    Raises:
        ValueError: The stage is not possible; the message starts with its name.
    """
    problem = _problem(recipe, stage) or (
        _problem_of_em(recipe, stage) if stage.optimizer == "em" else None
    )
    if problem:
        raise ValueError(f"training.stages.{stage.name}: {problem}")


def _problem(recipe: Recipe, stage: Stage) -> str | None:
    model, gate = recipe.model, recipe.model.gate
    augmentation = recipe.training.augmentation_of(stage)
    if recipe.features.kind == "pretrained":
        for name in ("vocal_tract", "quiet_ends"):
            if getattr(augmentation, name):
                return (
                    f"augmentation.{name}: found {getattr(augmentation, name)}, which is for log "
                    "mel features; expected 0 (features.kind: pretrained)"
                )
    if model.encoder is not None:
        if model.adapters is not None:
            return _problem_of_adapters(model.adapters, stage)
        return _problem_of_encoder(model.encoder, stage)
    if "encoder" in stage.train:
        return "there is no model.encoder to train"
    if stage.optimizer == "muon":
        return "optimizer: muon is for an encoder (model.encoder); expected adamw"
    by_speaker = model.num_experts == "speakers"
    if stage.route == "speaker" and not by_speaker:
        return "route: speaker needs model.num_experts: speakers"
    if "experts" in stage.train and not model.expert.learns:
        return "experts of kind: function have no weights to train"
    if "gate" in stage.train and gate is None:
        return "there is no gate to train"
    if "gate" in stage.train and gate is not None and not gate.learns:
        return f"a gate of kind: {gate.kind} has no weights to train"
    if (stage.blend == "utterance" or stage.balance) and (gate is None or gate.kind == "speaker"):
        return "blend and balance are for a gate"
    if stage.objective == "speaker" and not by_speaker:
        return "objective: speaker needs model.num_experts: speakers"
    if stage.objective == "crf":
        return "objective: crf is for an encoder (model.encoder); expected cross_entropy or speaker"
    if stage.objective in {"mse", "cfm"} and recipe.task.kind != "classify":
        return (
            f"objective: found {stage.objective}, which is for task.kind classify; expected "
            "cross_entropy or speaker"
        )
    if stage.learns_through_the_mixture:
        if model.combine == "vote":
            return (
                "a vote has no gradient (model.combine: vote); train the experts by route: "
                "speaker or shared, the gate by objective: speaker"
            )
        if model.combine == "maximum" and "gate" in stage.train:
            return (
                "a maximum has no gradient for the gate (model.combine: maximum); train it by "
                "objective: speaker or blend: utterance"
            )
    return None


def _problem_of_adapters(adapters: Adapters, stage: Stage) -> str | None:
    for key, value, expected in (
        ("optimizer", stage.optimizer, "adamw"),
        ("blend", stage.blend, "frame"),
    ):
        if value != expected:
            return f"{key}: found {value}, but model.adapters have only {expected}"
    if stage.objective not in {"cross_entropy", "crf"}:
        return (
            f"objective: found {stage.objective}, but model.adapters have only cross_entropy and "
            "crf"
        )
    if "gate" in stage.train and adapters.num_experts == 1:
        return "there is no gate to train (model.adapters.num_experts: 1)"
    if stage.route == "speaker" and adapters.num_experts != "speakers":
        return "route: speaker needs model.adapters.num_experts: speakers"
    if stage.route == "shared" and adapters.num_experts == 1:
        return "route: shared makes all experts copies of one: found model.adapters.num_experts: 1"
    return None


def _problem_of_encoder(encoder: EncoderSection, stage: Stage) -> str | None:
    if stage.train != ("encoder",):
        return f"train: found [{', '.join(stage.train)}], expected [encoder]"
    if stage.optimizer == "em":
        return "optimizer: found em, but an encoder (model.encoder) has only adamw and muon"
    for key, value, expected in (("blend", stage.blend, "frame"), ("balance", stage.balance, 0.0)):
        if value != expected:
            return f"{key}: found {value}, but an encoder (model.encoder) has only {expected}"
    if stage.objective not in {"cross_entropy", "crf"}:
        return (
            f"objective: found {stage.objective}, but an encoder (model.encoder) has only "
            "cross_entropy and crf"
        )
    if stage.route == "speaker":
        return "route: speaker is for experts named after speakers, not for an encoder"
    if stage.route == "shared":
        sparse = encoder.sparse
        if sparse is None or sparse.router.kind == "soft":
            return "route: shared trains one expert for all and needs a model.encoder.sparse"
        if sparse.segments != 1 or sparse.shared or sparse.num_experts == 1:
            return (
                "route: shared makes all experts copies of one: expected "
                "model.encoder.sparse.segments: 1, shared: 0 and num_experts above 1"
            )
    return None


def _problem_of_em(recipe: Recipe, stage: Stage) -> str | None:
    model, gate = recipe.model, recipe.model.gate
    assert gate is not None
    for key, value, expected in (
        ("task.kind", recipe.task.kind, "classify"),
        ("model.expert.kind", model.expert.kind, "linear"),
        ("model.gate.kind", gate.kind, "linear"),
        ("model.gate.activation", gate.activation, "softmax"),
        ("model.combine", model.combine, "weighted_sum"),
        ("model.functions", list(model.functions), []),
    ):
        if value != expected:
            return f"optimizer: em needs {key}: {expected}, found {value}"
    if recipe.training.augmentation_of(stage) != Augmentation():
        return "optimizer: em needs the same features in every epoch: expected augmentation: {}"
    return None
