"""Time of one sparse layer with 4 to 256 experts, and its lower limit.

``python -m benchmarks.flat_cost`` times a layer of 256 features with top-2 routing to experts of
256 hidden units on 8,000 frames, its router included, forward and with the gradients of the input
and of all parameters: ours, all experts on all frames, and other libraries' layers (those that are
installed: the extra ``peers``). Layers take turns, in a new order and on other frames every round;
medians are compared, and the minimum is shown beside them.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import page, results
from benchmarks.results import table
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.expert_rows import Assignment
from phoneme_moe.mixture.sparse.layer import SparseFeedForward
from phoneme_moe.mixture.sparse.layer_routing import RouterContext
from phoneme_moe.mixture.sparse.routers import TokenChoice
from phoneme_moe.mixture.sparse.scores import LinearScores
from phoneme_moe.training.stages import keep_freed_memory

UTTERANCES, FRAMES, WIDTH, HIDDEN, TOP_K = 8, 1000, 256, 256, 2
SIZES = (4, 16, 64, 256)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SLOW = 2.0
"""A layer that takes longer than this, in seconds, is timed only once, after a first step."""

OURS, ALONE, DENSE = "phoneme_moe", "its experts alone", "all experts on all frames"
PEERS = ("mixture-of-experts", "st-moe-pytorch", "Mixtral", "Mixtral, grouped_mm")

Layer = Callable[[Tensor], Tensor]


class OurLayer(nn.Module):
    """The layer of recipes, with the statistics of its router, without balancing losses."""

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        router = TokenChoice(LinearScores(WIDTH, num_experts), TOP_K)
        experts = ExpertFeedForward(num_experts, WIDTH, HIDDEN, "relu")
        self.layer = SparseFeedForward(experts, router)

    def forward(self, frames: Tensor) -> Tensor:
        """Shape (utterances, frames, width), as the input; no frame is padding."""
        mask = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        out: Tensor = self.layer(frames, mask, RouterContext(frames))[0]
        return out


class SparseLayer(nn.Module):
    """A linear router, softmax over the chosen two, and their experts."""

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, num_experts)
        self.experts = ExpertFeedForward(num_experts, WIDTH, HIDDEN, "relu")

    def route(self, frames: Tensor) -> Assignment:
        """Two experts for each frame of shape (frames, width)."""
        scores, experts = self.router(frames).float().topk(TOP_K, dim=-1)
        token = torch.arange(len(frames), device=frames.device).repeat_interleave(TOP_K)
        return Assignment(token, experts.flatten(), scores.softmax(dim=-1).flatten())

    def forward(self, frames: Tensor) -> Tensor:
        """Shape (utterances, frames, width), as the input."""
        flat = frames.flatten(0, 1)
        out: Tensor = self.experts(flat, self.route(flat))
        return out.view(frames.shape)


class ExpertsAlone(SparseLayer):
    """The same without the time of its router: the assignment is prepared."""

    assignment: Assignment

    def prepare(self, frames: Tensor) -> None:
        """Routes frames of shape (utterances, frames, width), before timing begins."""
        with torch.no_grad():
            routed = super().route(frames.flatten(0, 1))
        weight = routed.weight.requires_grad_()
        self.assignment = Assignment(routed.token, routed.expert, weight)

    def route(self, frames: Tensor) -> Assignment:
        """The prepared assignment."""
        return self.assignment


class AllExperts(SparseLayer):
    """Every expert on every frame as two large products, times a weight that is mostly 0."""

    def forward(self, frames: Tensor) -> Tensor:
        """Shape (utterances, frames, width), as the input; an utterance at a time."""
        return torch.stack([self._of_utterance(utterance) for utterance in frames])

    def _of_utterance(self, frames: Tensor) -> Tensor:
        experts, chosen = self.experts, self.route(frames)
        weight = torch.zeros(len(frames), experts.num_experts)
        weight = weight.index_put((chosen.token, chosen.expert), chosen.weight)
        columns = experts.weight_in.transpose(0, 1).flatten(1)  # (C, E * H)
        hidden = torch.relu(torch.addmm(experts.bias_in.flatten(), frames, columns))
        hidden = (hidden.view(len(frames), -1, HIDDEN) * weight[..., None]).flatten(1)
        return hidden @ experts.weight_out.flatten(0, 1) + weight @ experts.bias_out


def build(name: str, num_experts: int) -> nn.Module:
    """A layer by its name; ImportError if its library is not installed."""
    if name == OURS:
        return OurLayer(num_experts)
    if name == ALONE:
        return ExpertsAlone(num_experts)
    if name == DENSE:
        return AllExperts(num_experts)
    layer: nn.Module
    if name == "mixture-of-experts":
        module = importlib.import_module("mixture_of_experts")
        layer = module.MoE(dim=WIDTH, num_experts=num_experts, hidden_dim=HIDDEN)
    elif name == "st-moe-pytorch":
        module = importlib.import_module("st_moe_pytorch")
        # Its hidden size is 2/3 of this many times the width.
        layer = module.MoE(dim=WIDTH, num_experts=num_experts, expert_hidden_mult=1.5)
    else:
        config = importlib.import_module("transformers").MixtralConfig(
            hidden_size=WIDTH,
            intermediate_size=HIDDEN,
            num_local_experts=num_experts,
            num_experts_per_tok=TOP_K,
        )
        config._experts_implementation = "grouped_mm" if "grouped" in name else "eager"
        module = importlib.import_module("transformers.models.mixtral.modeling_mixtral")
        layer = module.MixtralSparseMoeBlock(config)
        for parameter in layer.parameters():  # it leaves them uninitialised
            nn.init.normal_(parameter, std=WIDTH**-0.5)
    return layer


def step(layer: nn.Module, frames: Tensor, gradient: Tensor, dtype: torch.dtype) -> list[float]:
    """Seconds of forward, and of forward and backward."""
    layer.zero_grad(set_to_none=True)
    frames = frames.clone().requires_grad_()
    if isinstance(layer, ExpertsAlone):
        layer.prepare(frames)
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        out = layer(frames)
    out = out[0] if isinstance(out, tuple) else out  # others return losses too
    forward = time.perf_counter() - start
    out.backward(gradient.to(out.dtype))
    return [forward, time.perf_counter() - start]


def limit(dtype: torch.dtype) -> list[float]:
    """Seconds of the two products of all rows by one matrix, and their gradients, alone."""
    rows = torch.randn(UTTERANCES * FRAMES * TOP_K, WIDTH).to(dtype)
    weight = torch.randn(WIDTH, HIDDEN).to(dtype)
    start = time.perf_counter()
    out = rows @ weight
    forward = time.perf_counter() - start
    for _ in (out @ weight.T, rows.T @ out):
        pass
    return [2 * forward, 2 * (time.perf_counter() - start)]


def growing_part(num_experts: int, dtype: torch.dtype) -> list[float]:
    """Seconds of what necessarily grows with the number of experts, as separate passes.

    The router's product with its gradients, weights that are read (once forward, once for the
    gradient of the frames), and gradients of the weights that are written.
    """
    frames = torch.randn(UTTERANCES * FRAMES, WIDTH).to(dtype)
    router = torch.randn(WIDTH, num_experts).to(dtype)
    weights = torch.randn(num_experts, 2 * WIDTH, HIDDEN)
    gradients = torch.empty_like(weights)
    gradients.zero_()
    start = time.perf_counter()
    scores = frames @ router
    weights.sum()
    forward = time.perf_counter() - start
    for _ in (scores @ router.T, frames.T @ scores, gradients.copy_(weights)):
        pass
    return [forward, time.perf_counter() - start]


def measure(sizes: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Times all layers at all sizes.

    Args:
        sizes: Numbers of experts.
        rounds: Timed rounds, after a warm-up round.
    """
    torch.manual_seed(0)
    order = random.Random(0)
    names = (OURS, ALONE, DENSE, *PEERS)
    layers: dict[tuple[str, int], nn.Module] = {}
    missing: dict[str, str] = {}
    for name in names:
        for size in sizes:
            try:
                layers[name, size] = build(name, size)
            except ImportError as error:
                missing[name] = str(error)
    frames = [torch.randn(UTTERANCES, FRAMES, WIDTH) for _ in range(4)]
    busiest = {
        str(size): _busiest(SparseLayer.route(layer, frames[0].flatten(0, 1)).expert, size)
        for (name, size), layer in layers.items()
        if name == ALONE and isinstance(layer, SparseLayer)
    }
    gradient = torch.randn(UTTERANCES, FRAMES, WIDTH)
    figures: dict[str, Any] = {"missing": missing, "busiest": busiest, "failed": {}}
    for dtype_name, dtype in DTYPES.items():
        timings: dict[tuple[str, int], list[list[float]]] = {}
        limits: list[list[float]] = []
        growing: dict[int, list[list[float]]] = {size: [] for size in sizes}
        waiting = list(layers)
        for number in range(rounds + 1):
            order.shuffle(waiting)
            for key in list(waiting):
                run = functools.partial(step, layers[key], frames[number % 4], gradient, dtype)
                limits.append(limit(dtype))
                growing[key[1]].append(growing_part(key[1], dtype))
                try:
                    seconds = run()
                except RuntimeError as error:
                    figures["failed"][f"{key[0]}, {key[1]} experts, {dtype_name}"] = str(error)
                    waiting.remove(key)
                    continue
                layers[key].zero_grad(set_to_none=True)
                timings.setdefault(key, []).append(seconds)
                if seconds[1] > SLOW and number:
                    waiting.remove(key)
            print(f"{dtype_name}: round {number} of {rounds}", flush=True)
        figures[dtype_name] = {
            "limit": _summary(limits),
            "beyond": {str(size): _summary(values) for size, values in growing.items()},
            "layers": {
                name: {
                    str(size): _summary(timings[name, size][1:])
                    for size in sizes
                    if len(timings.get((name, size), [])) > 1
                }
                for name in names
                if name not in missing
            },
        }
    return figures


def _busiest(expert: Tensor, num_experts: int) -> float:
    """Load of the busiest expert, 1 if all are equally loaded."""
    load = torch.bincount(expert, minlength=num_experts).double()
    return float(load.max() / load.mean())


def _summary(seconds: list[list[float]]) -> dict[str, dict[str, float]]:
    return {
        kind: {
            "median_ms": 1000 * statistics.median(values),
            "min_ms": 1000 * min(values),
            "rounds": len(values),
        }
        for kind, values in zip(("forward", "both"), zip(*seconds, strict=True), strict=True)
    }


def section(figures: dict[str, Any]) -> str:
    """The Markdown section of docs/benchmarks.md."""
    sizes = list(figures["busiest"])
    parts = [
        "## Cost of a sparse layer from 4 to 256 experts\n",
        f"`python -m benchmarks.flat_cost` ({figures['machine']}). One layer with its router: "
        f"{WIDTH} features, top-2 of experts with {HIDDEN} rectified hidden\nunits and biases, "
        f"{UTTERANCES} utterances of {FRAMES:,} frames, four batches in turn; gradients of the "
        "input and all parameters. bf16 is\nautocast over float32 parameters. ms, median (minimum) "
        "of rounds in which all layers take turns. The limit is the time of\nthe same products as "
        "plain products with one matrix, share = limit / layer, medians. What necessarily grows "
        "with the number\nof experts is the router's product, reading weights and writing "
        "gradients: "
        "the row below the limit adds their times, each\nmeasured by itself. Other libraries keep "
        "their defaults except for hidden size and top-2: `mixture-of-experts` (ReLU, no\nbiases, "
        "capacity 1.25, drops second choices at random), `st-moe-pytorch` (GEGLU and Mixtral "
        "SwiGLU: "
        "half as many products\nagain; capacity 1.25; its auxiliary losses are not "
        "differentiated), "
        "Mixtral of `transformers` as its loop over experts and\nwith `grouped_mm`, which autocast "
        "leaves in float32.\n",
    ]
    for name, why in figures["missing"].items():
        parts.append(f"Not installed, so not timed: {name} ({why}).\n")
    for key, why in figures["failed"].items():
        parts.append(f"Failed: {key} ({why.splitlines()[0]}).\n")
    for dtype in DTYPES:
        for kind, title in (("both", "forward and backward"), ("forward", "forward")):
            rows = _rows(figures[dtype], sizes, kind)
            parts.append(f"### {title}, {dtype}\n\n{table(['experts', *sizes], rows)}")
    parts.append("### Targets\n\n" + "".join(f"- {line}\n" for line in _targets(figures)))
    return "\n".join(parts)


def _rows(figures: dict[str, Any], sizes: list[str], kind: str) -> list[list[str]]:
    limit = figures["limit"][kind]
    rows = [["limit", *[f"{limit['median_ms']:.0f} ({limit['min_ms']:.0f})"] * len(sizes)]]
    if "beyond" in figures:
        sums = [limit["median_ms"] + figures["beyond"][s][kind]["median_ms"] for s in sizes]
        rows.append(["limit, router and weights in and out", *(f"{t:.0f}" for t in sums)])
        rows.append([f"the same: times {sizes[0]} experts", *(f"{t / sums[0]:.2f}" for t in sums)])
    for name, of_sizes in figures["layers"].items():
        cells = [of_sizes[size][kind] if size in of_sizes else None for size in sizes]
        texts = [f"{c['median_ms']:,.0f} ({c['min_ms']:,.0f})" if c else "-" for c in cells]
        rows.append([name, *texts])
    for name in (OURS, ALONE):
        times = [figures["layers"][name][size][kind]["median_ms"] for size in sizes]
        rows.append([f"{name}: times {sizes[0]} experts", *(f"{t / times[0]:.2f}" for t in times)])
        shares = (100 * limit["median_ms"] / t for t in times)
        rows.append([f"{name}: share of the limit, %", *(f"{share:.0f}" for share in shares)])
    return rows


def _targets(figures: dict[str, Any]) -> list[str]:
    """Targets, and whether they are met, in float32, forward and backward."""
    layers, limit = figures["float32"]["layers"], figures["float32"]["limit"]["both"]
    lines = []

    def state(target: str, value: float, met: bool) -> None:
        lines.append(f"{target}: {value:.2f}, {'met' if met else '**not met**'}.")

    for name in (OURS, ALONE):
        time_of = {s: times["both"]["median_ms"] for s, times in layers[name].items()}
        for size, most in (("64", 1.15), ("256", 1.4)):
            if size in time_of and "4" in time_of:
                ratio = time_of[size] / time_of["4"]
                state(f"{name}, {size} experts, at most {most} times 4", ratio, ratio <= most)
        for size in ("16", "64"):
            if size in time_of:
                share = limit["median_ms"] / time_of[size]
                state(f"{name}, {size} experts, at least 0.65 of the limit", share, share >= 0.65)
    for size, ours in layers[OURS].items():
        others = {
            name: layers[name][size]["both"]["median_ms"]
            for name in PEERS
            if size in layers.get(name, {})
        }
        if others:
            best = min(others, key=others.__getitem__)
            faster = others[best] / ours["both"]["median_ms"]
            state(f"{size} experts, times as fast as the best other, {best}", faster, faster > 1)
    return lines


def main() -> None:
    """Measures, prints the section, keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="4 and 16 experts, nothing kept")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    sizes, rounds = (SIZES[:2], 3) if arguments.quick else (SIZES, arguments.rounds)
    figures = {"machine": results.machine(), **measure(sizes, rounds)}
    print(section(figures))
    if not arguments.quick:
        results.keep("flat_cost", figures)
        page.write()


if __name__ == "__main__":
    main()
