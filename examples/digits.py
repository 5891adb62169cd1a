"""Handwritten digits, half of them inverted: mixtures beside a dense net of the same size.

python examples/digits.py
"""

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from phoneme_moe.mixture import (
    BalanceWeights,
    ExpertFeedForward,
    Experts,
    FeedForward,
    Gate,
    LinearScores,
    MixtureOfExperts,
    SparseFeedForward,
    TokenChoice,
)
from phoneme_moe.report import RoutingTable, summarize, verdict
from phoneme_moe.report.information import information_about


class GatedMixture(MixtureOfExperts):
    """Eight nets, all computed; a gate weighs their posteriors."""

    def __init__(self) -> None:
        super().__init__(Experts(FeedForward(8, 64, 10, hidden=[20])), Gate(FeedForward(1, 64, 8)))

    def posteriors(self, images: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Log posteriors, (cases, 10); weights, (cases, experts); the balancing loss."""
        mixture = self(images)
        return mixture.outputs, mixture.routing.weights, torch.zeros(())


class SparseNet(nn.Module):
    """A residual layer of eight experts, two of which compute each image."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.output = nn.Linear(64, 48), nn.Linear(48, 10)
        router = TokenChoice(LinearScores(48, 8), top_k=2)
        balance = BalanceWeights(switch=0.01)
        self.sparse = SparseFeedForward(ExpertFeedForward(8, 48, 10), router, balance=balance)

    def posteriors(self, images: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """As of the gated mixture."""
        hidden = self.input(images).relu()
        change, routing = self.sparse(hidden)
        scores = self.output(hidden + change)
        return scores.log_softmax(-1), routing.routing().weights, routing.loss


class DenseNet(nn.Sequential):
    """One hidden layer."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(64, 170), nn.ReLU(), nn.Linear(170, 10))

    def posteriors(self, images: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """As of the gated mixture, without weights."""
        return self(images).log_softmax(-1), None, torch.zeros(())


def main() -> None:
    """Trains on half of the images; prints accuracies and how the experts divide the others."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pixels, classes = load_digits(return_X_y=True)
    images, digits = torch.tensor(pixels / 16).float(), torch.tensor(classes)
    inverted = torch.rand(len(images)) < 0.5
    images[inverted] = 1 - images[inverted]
    train, test = torch.randperm(len(images)).chunk(2)

    linear = LogisticRegression(max_iter=3000).fit(images[train], digits[train])
    accuracy = linear.score(images[test], digits[test])
    print(f"linear model: {accuracy:.1%} of {len(test)} images")
    for kind, rate in ((DenseNet, 3e-3), (GatedMixture, 3e-3), (SparseNet, 1e-2)):
        model = kind()
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        for _ in range(60):
            for batch in train[torch.randperm(len(train))].split(64):
                log_posteriors, _, balance = model.posteriors(images[batch])
                optimizer.zero_grad()
                (functional.nll_loss(log_posteriors, digits[batch]) + balance).backward()
                optimizer.step()
        with torch.no_grad():
            log_posteriors, weights, _ = model.posteriors(images[test])
        accuracy = (log_posteriors.argmax(-1) == digits[test]).float().mean().item()
        number = sum(p.numel() for p in model.parameters())
        print(f"\n{kind.__name__}: {accuracy:.1%}, {number:,} weights")
        if weights is None:
            continue
        contrast = ["inverted" if flipped else "normal" for flipped in inverted[test]]
        for name, labels in (("contrast", contrast), ("digit", digits[test].tolist())):
            table = RoutingTable.of_labels(weights.numpy(), labels, label_name=name)
            print(f"The experts tell {information_about(table)[0]:.2f} bits of the {name}.")
            print(*verdict(summarize(table, unit="image")), sep="\n")


if __name__ == "__main__":
    main()
