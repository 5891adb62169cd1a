"""Which experts a user wants override, from names to a ``RoutingOverride``."""

from __future__ import annotations

from phoneme_moe.corpora import SPLITS, load_corpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.errors import InputError, suggest
from phoneme_moe.inference import recognize_examples
from phoneme_moe.mixture.override import RoutingOverride, shares_of
from phoneme_moe.run_folder import LoadedRun

UNIFORM = "uniform"


def named_override(
    run: LoadedRun,
    only: str | None = None,
    without: str | None = None,
    gate_from: str | None = None,
    layer: str | None = None,
) -> RoutingOverride | None:
    """Other experts than the run's gate or routers would ask; None where nothing is said.

    Args:
        run: The run.
        only: Names of the experts that may be override, with commas between.
        without: Names of experts that may not be override.
        gate_from: A speaker of the run's corpus, whose mean weights every frame gets; or
            ``uniform``, which asks every expert alike.
        layer: The sparse layer that is meant; all of them, if they have as many experts each, when
            left out.

    Raises:
        InputError: There is no such expert, speaker or layer; nobody is left to ask; or the run has
            only one expert.
    """
    if only is None and without is None and gate_from is None:
        if layer is not None:
            raise InputError(
                f"--layer: found {layer!r} alone; expected --only-expert, --without-expert or "
                "--gate-from too"
            )
        return None
    _, experts = run.recognizer.routed_layer(layer)
    if len(experts) == 1:
        raise InputError(f"{run.folder}: the run has one expert only, and nobody else to ask")
    override = RoutingOverride(
        len(experts),
        layer,
        _indices(run, experts, only, "--only-expert"),
        _indices(run, experts, without, "--without-expert"),
    )
    allowed = set(override.only or range(len(experts))) - set(override.without)
    if not allowed:
        raise InputError("--without-expert: nobody is left to ask")
    if gate_from is None:
        return override
    if run.recognizer.encoder is not None and layer is None and gate_from != UNIFORM:
        raise InputError("--gate-from: a sparse model has several routers; expected --layer too")
    weights = [1.0] * len(experts)
    if gate_from != UNIFORM:
        weights = _mean_weights(run, gate_from, layer)
    kept = [w if index in allowed else 0.0 for index, w in enumerate(weights)]
    if not sum(kept) > 0:
        raise InputError(f"--gate-from: {gate_from} never asks the experts that are left")
    return RoutingOverride(
        override.num_experts, layer, override.only, override.without, shares_of(kept)
    )


def _indices(
    run: LoadedRun, experts: tuple[str, ...], names: str | None, option: str
) -> tuple[int, ...]:
    found = []
    for name in [] if names is None else names.split(","):
        name = name.strip()
        if name not in experts:
            raise InputError(
                f"{option}: {run.folder} has no expert {name!r}{suggest(name, experts)}"
            )
        found.append(experts.index(name))
    return tuple(found)


def _mean_weights(run: LoadedRun, speaker: str, layer: str | None) -> list[float]:
    """Of a speaker's real frames, in the first split in which there are any."""
    corpus = load_corpus(run.recipe.corpus.name)
    if speaker not in corpus.speakers:
        known = suggest(speaker, [*corpus.speakers, UNIFORM])
        raise InputError(f"--gate-from: {corpus.name} has no speaker {speaker!r}{known}")
    if run.recognizer.gate_is_speaker:
        raise InputError(f"--gate-from: the gate of {run.folder} is who speaks")
    for split in reversed(SPLITS):  # test first: heard by nobody in training
        if not any(cut.supervisions[0].speaker == speaker for cut in corpus.cuts(split)):
            continue
        examples = load_examples(run.recipe, corpus, split, run.recognizer, [speaker])
        total, frames = None, 0
        for _, said in recognize_examples(run.recognizer, examples):
            routing = said.routing_of(layer)
            own = routing.weights[routing.mask].double()
            total = own.sum(dim=0) if total is None else total + own.sum(dim=0)
            frames += len(own)
        assert total is not None
        return [float(weight) / frames for weight in total]
    raise InputError(f"--gate-from: {corpus.name} has no utterance of {speaker!r}")
