"""Handwritten digits, half of them inverted: mixtures beside a dense net of the same size."""

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import log_softmax, nll_loss

from phoneme_moe import mixture as moe
from phoneme_moe.report import RoutingTable, summarize, verdict
from phoneme_moe.report.information import information_about


class SparseNet(nn.Module):
    """A residual layer of eight experts, two of which process each image."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.output = nn.Linear(64, 48), nn.Linear(48, 10)
        experts = moe.ExpertFeedForward(8, 48, 10)
        balance = moe.BalanceWeights(switch=0.01)
        self.sparse = moe.SparseFeedForward(experts, top_k=2, balance=balance)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.input(images).relu()
        change, routing = self.sparse(hidden)
        return self.output(hidden + change), routing.routing().weights, routing.loss


def dense_net() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 170), nn.ReLU(), nn.Linear(170, 10))


def gated_mixture() -> nn.Module:
    experts = moe.Experts(moe.FeedForward(8, 64, 10, hidden=[20]))
    return moe.MixtureOfExperts(experts, moe.Gate(moe.FeedForward(1, 64, 8)))


def run(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor | None, Tensor | float]:
    """Log posteriors, shape (images, 10); expert weights, (images, experts); balancing loss."""
    output = model(images)
    if isinstance(output, moe.MixtureOutput):
        return output.outputs, output.routing.weights, 0.0
    logits, weights, loss = output if isinstance(output, tuple) else (output, None, 0.0)
    return log_softmax(logits, -1), weights, loss


torch.set_num_threads(1)
torch.manual_seed(0)
pixels, classes = load_digits(return_X_y=True)
images, digits = torch.tensor(pixels / 16).float(), torch.tensor(classes)
inverted = torch.rand(len(images)) < 0.5
images[inverted] = 1 - images[inverted]
train, test = torch.randperm(len(images)).chunk(2)
linear = LogisticRegression(max_iter=3000).fit(images[train], digits[train])
print(f"linear model: {linear.score(images[test], digits[test]):.1%} of {len(test)} images")
for build, rate in ((dense_net, 3e-3), (gated_mixture, 3e-3), (SparseNet, 1e-2)):
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(60):
        for batch in train[torch.randperm(len(train))].split(64):
            log_posteriors, _, balance = run(model, images[batch])
            optimizer.zero_grad()
            (nll_loss(log_posteriors, digits[batch]) + balance).backward()
            optimizer.step()
    with torch.no_grad():
        log_posteriors, weights, _ = run(model, images[test])
    accuracy = (log_posteriors.argmax(-1) == digits[test]).float().mean().item()
    number = sum(p.numel() for p in model.parameters())
    print(f"\n{build.__name__}: {accuracy:.1%}, {number:,} weights")
    contrast = ["inverted" if flipped else "normal" for flipped in inverted[test]]
    for name, labels in (("contrast", contrast), ("digit", digits[test].tolist())):
        if weights is not None:
            table = RoutingTable.of_labels(weights.numpy(), labels, label_name=name)
            print(
                f"Mutual information of expert and {name}: {information_about(table)[0]:.2f} bits."
            )
            print(*verdict(summarize(table, unit="image")), sep="\n")
