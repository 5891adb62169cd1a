"""Routing overrides given by the names of experts and speakers of a run."""

from __future__ import annotations

from phoneme_moe.corpora import SPLITS, load_corpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.errors import ArgumentError, InputError, suggest
from phoneme_moe.inference import recognize_examples
from phoneme_moe.mixture.override import RoutingOverride, shares_of
from phoneme_moe.run_folder import LoadedRun

UNIFORM = "uniform"


def named_override(
    run: LoadedRun,
    only_expert: str | None = None,
    without_expert: str | None = None,
    gate_from: str | None = None,
    layer: str | None = None,
) -> RoutingOverride | None:
    """Creates the override of a run's gate or routers; None if no option is given.

    Args:
        run: The run.
        only_expert: Names of the experts to route to, separated by commas.
        without_expert: Names of experts to ablate, separated by commas.
        gate_from: Speaker of the run's corpus whose mean weights are used in every frame;
            ``uniform`` for equal weights.
        layer: The sparse layer to override; by default all, which must have equally many experts.

    Raises:
        InputError: An expert, speaker or layer is unknown, no expert remains, or the run has a
            single expert.
    """
    if only_expert is None and without_expert is None and gate_from is None:
        if layer is not None:
            raise ArgumentError(
                "layer", f"found {layer!r} alone; expected an override of its routing as well"
            )
        return None
    _, experts = run.recognizer.routed_layer(layer)
    if len(experts) == 1:
        raise InputError(f"{run.name}: the run has a single expert; routing cannot be overridden")
    override = RoutingOverride(
        len(experts),
        layer,
        _indices(run, experts, only_expert, "only_expert"),
        _indices(run, experts, without_expert, "without_expert"),
    )
    allowed = set(override.only or range(len(experts))) - set(override.without)
    if not allowed:
        raise ArgumentError("without_expert", "no expert is left")
    if gate_from is None:
        return override
    if run.recognizer.encoder is not None and layer is None and gate_from != UNIFORM:
        raise ArgumentError(
            "gate_from", "a sparse model has several routers; expected the name of a layer as well"
        )
    weights = [1.0] * len(experts)
    if gate_from != UNIFORM:
        weights = _mean_weights(run, gate_from, layer)
    kept = [w if index in allowed else 0.0 for index, w in enumerate(weights)]
    if not sum(kept) > 0:
        raise ArgumentError("gate_from", f"{gate_from} gives the remaining experts no weight")
    return RoutingOverride(
        override.num_experts, layer, override.only, override.without, shares_of(kept)
    )


def _indices(
    run: LoadedRun, experts: tuple[str, ...], names: str | None, argument: str
) -> tuple[int, ...]:
    indices = []
    for name in [] if names is None else names.split(","):
        name = name.strip()
        if name not in experts:
            problem = f"{run.name} has no expert {name!r}{suggest(name, experts)}"
            raise ArgumentError(argument, problem)
        indices.append(experts.index(name))
    return tuple(indices)


def _mean_weights(run: LoadedRun, speaker: str, layer: str | None) -> list[float]:
    """Mean weights over the frames of a speaker, in the first split with that speaker."""
    corpus = load_corpus(run.recipe.corpus.name)
    if speaker not in corpus.speakers:
        known = suggest(speaker, [*corpus.speakers, UNIFORM])
        raise ArgumentError("gate_from", f"{corpus.name} has no speaker {speaker!r}{known}")
    if run.recognizer.gate_is_speaker:
        raise ArgumentError(
            "gate_from", f"the gate of {run.name} is the speaker's identity and has no weights"
        )
    for split in reversed(SPLITS):  # test first, because it is not training data
        if not any(cut.supervisions[0].speaker == speaker for cut in corpus.iter_cuts(split)):
            continue
        examples = load_examples(run.recipe, corpus, split, run.recognizer, [speaker])
        total, frames = None, 0
        for _, recognition in recognize_examples(run.recognizer, examples):
            routing = recognition.routing_of(layer)
            weights = routing.weights[routing.mask].double()
            total = weights.sum(dim=0) if total is None else total + weights.sum(dim=0)
            frames += len(weights)
        assert total is not None
        return [float(weight) / frames for weight in total]
    raise ArgumentError("gate_from", f"{corpus.name} has no utterance of {speaker!r}")
