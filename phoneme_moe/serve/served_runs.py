"""The runs of a server, by name: opened once, with what a request can ask of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.errors import InputError, suggest
from phoneme_moe.mixture.override import LayerOverrides, RoutingOverride
from phoneme_moe.routing_override import named_override
from phoneme_moe.run_folder import LoadedRun, load_run
from phoneme_moe.training.adapt import require_gate
from phoneme_moe.transcription.live import check_live
from phoneme_moe.transcription.model_spec import ModelSpec
from phoneme_moe.transcription.run_engine import RunEngine, spec_of


@dataclass(frozen=True)
class LayerChange:
    """A change to the routing of one layer, by names (``routing_override.named_override``).

    Attributes:
        layer: A sparse layer; None for the gate, or for all sparse layers.
        only_expert: Names of experts to route to, separated by commas.
        without_expert: Names of experts to ablate, separated by commas.
        gate_from: A speaker whose mean weights are used, or ``uniform``.
    """

    layer: str | None = None
    only_expert: str | None = None
    without_expert: str | None = None
    gate_from: str | None = None


class ServedRun:
    """A run that a server has opened."""

    def __init__(self, name: str, run: LoadedRun) -> None:
        """Takes a run.

        Args:
            name: Its name in requests.
            run: The run.
        """
        self.name = name
        self.run = run
        self.spec: ModelSpec = spec_of(run)
        self._override = lru_cache(256)(self._named_override)

    @property
    def layers(self) -> dict[str, tuple[str, ...]]:
        """Experts of each sparse layer by its name; those of a gate under an empty name."""
        encoder = self.run.recognizer.encoder
        names = [layer.name for layer in encoder.sparse_layers] if encoder else [None]
        return {name or "": self.run.recognizer.routed_layer(name)[1] for name in names}

    @cached_property
    def corpus(self) -> PreparedCorpus | None:
        """The corpus of the run; None if it is not prepared here."""
        try:
            return load_corpus(self.run.recipe.corpus.name)
        except InputError:
            return None

    @property
    def live_problem(self) -> str | None:
        """Why the run cannot recognise live speech; None if it can."""
        try:
            check_live(self.spec)
        except InputError as error:
            return str(error)
        return None

    @property
    def adapts(self) -> bool:
        """Whether it has a gate that ``adapt`` can train."""
        try:
            require_gate(self.run)
        except InputError:
            return False
        return True

    @property
    def scores_pronunciation(self) -> bool:
        """Whether its goodness of pronunciation is calibrated as a score."""
        return self.run.decoding.goodness is not None

    @property
    def report_page(self) -> Path | None:
        """The run's routing report, if there is one."""
        page = self.run.output_folder / "report" / "report.html"
        return page if page.is_file() else None

    def engine(
        self,
        changes: Sequence[LayerChange] = (),
        layer: str | None = None,
        best: bool = False,
    ) -> RunEngine:
        """An inference engine of the run; engines share its weights.

        Args:
            changes: Changes to its routing.
            layer: Sparse layer whose weights are output; the last one by default.
            best: Whether to decode with the slow search with the fewest errors.

        Raises:
            InputError: A change or the layer does not fit the run.
        """
        engine = RunEngine(self.run, self._override(tuple(changes)), layer)
        if best:
            engine.spec = engine.spec.with_best_search()
        return engine

    def _named_override(
        self, changes: tuple[LayerChange, ...]
    ) -> RoutingOverride | LayerOverrides | None:
        overrides = [
            override
            for change in changes
            if (
                override := named_override(
                    self.run,
                    change.only_expert,
                    change.without_expert,
                    change.gate_from,
                    change.layer,
                )
            )
            is not None
        ]
        if len(overrides) > 1 and self.run.recognizer.encoder is None:
            raise InputError(
                f"{self.name}: found {len(overrides)} changes, expected one: of a gate"
            )
        if len(overrides) > 1:
            return LayerOverrides(tuple(overrides))
        return overrides[0] if overrides else None


class ServedRuns:
    """All runs of a server."""

    def __init__(self, folders: Iterable[str | Path], device: str = "cpu") -> None:
        """Opens runs.

        Args:
            folders: Run folders, or names of models of the package; the first is the default.
            device: ``cpu``, ``cuda`` or ``auto``.

        Raises:
            InputError: A run cannot be opened, or its routers need an embedding of each recording.
        """
        self._lock = threading.Lock()
        self._runs: dict[str, ServedRun] = {}
        self.device = device
        for folder in folders:
            self.add(load_run(folder, device))

    def add(self, run: LoadedRun) -> ServedRun:
        """Adds a run under the last part of its name, with a number if that is taken.

        Raises:
            InputError: Its routers need an embedding of each recording.
        """
        if run.recognizer.embedding_size is not None:
            raise InputError(
                f"{run.name}: its routers take an embedding of each recording, which a server does "
                "not have"
            )
        base = run.name.resolve().name if run.name.name in {"", ".."} else run.name.name
        with self._lock:
            number, name = 1, base
            while name in self._runs:
                number += 1
                name = f"{base}-{number}"
            self._runs[name] = served = ServedRun(name, run)
        return served

    def __iter__(self) -> Iterator[ServedRun]:
        return iter(tuple(self._runs.values()))

    def find(self, name: str | None) -> ServedRun:
        """The run of a name; the first for None.

        Raises:
            InputError: There is no such run.
        """
        if name is None:
            return next(iter(self._runs.values()))
        if name not in self._runs:
            raise InputError(f"run: found {name!r}{suggest(name, self._runs)}")
        return self._runs[name]
