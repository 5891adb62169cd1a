"""Power of a building's heat pump, heating or cooling: a regression mixture beside plain nets.

A table of weather and occupancy (synthetic, noise of 0.1 kW). The pump heats on cold days and cools
on warm or sunny ones, and wind, sun and people count differently in either. No net is given the
regime; the gate finds it.

    python examples/regimes.py
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from phoneme_moe.mixture import (
    Experts,
    FeedForward,
    Gate,
    MixtureOfExperts,
    MixtureOutput,
    competitive_error,
)
from phoneme_moe.report import RoutingTable, summarize, verdict
from phoneme_moe.report.information import information_about


def days(number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Standardised columns, shape (cases, 5); power in kW, (cases, 1); whether the pump heats."""
    columns = torch.rand(number, 5)
    warmth, wind, sun, humidity, people = columns.T
    outside = -10 + 45 * warmth  # degrees Celsius
    heats = outside + 5 * sun < 17
    heating = 0.30 * (17 - outside) + 3 * wind - 3 * sun - 2 * people + 3
    cooling = 0.35 * (outside - 17) - wind + 3 * sun + 2 * people + 3 * humidity + 1
    power = torch.where(heats, heating, cooling) + 0.1 * torch.randn(number)
    return (columns - 0.5) * 12**0.5, power[:, None], heats


def fit(
    model: nn.Module, loss: Callable[[Any, Tensor], Tensor], inputs: Tensor, targets: Tensor
) -> None:
    """Trains by Adam, at a rate that falls to 0 by half a cosine."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for _ in range(100):
        for batch in torch.randperm(len(inputs)).split(50):
            optimizer.zero_grad()
            loss(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
        schedule.step()


def main() -> None:
    """Trains on 2,000 days; prints errors on 2,000 others and which expert serves which regime."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    inputs, targets, _ = days(2000)
    test_inputs, test_targets, heats = days(2000)

    def competitive(output: MixtureOutput, targets: Tensor) -> Tensor:
        weights = output.routing.log_weights
        return competitive_error(weights, output.expert_outputs, targets, sigma=0.5).mean()

    def show(name: str, model: nn.Module, outputs: Tensor) -> None:
        rmse = (outputs - test_targets).square().mean().sqrt().item()
        print(f"{name}: RMSE {rmse:.2f} kW, {sum(p.numel() for p in model.parameters())} weights")

    for hidden in (4, 50):
        net = nn.Sequential(nn.Linear(5, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        fit(net, nn.MSELoss(), inputs, targets)
        show(f"net with {hidden} hidden units", net, net(test_inputs))
    experts = Experts(FeedForward(2, 5, 1), outputs="values")
    mixture = MixtureOfExperts(experts, Gate(FeedForward(1, 5, 2)), combination="maximum")
    fit(mixture, competitive, inputs, targets)
    with torch.no_grad():
        output = mixture(test_inputs)
    show("mixture of two linear experts", mixture, output.outputs)
    regimes = ["heating" if cold else "cooling" for cold in heats]
    table = RoutingTable.of_labels(output.routing.weights.numpy(), regimes, label_name="regime")
    print(f"The experts tell {information_about(table)[0]:.2f} bits of the regime.")
    print(*verdict(summarize(table, unit="day")), sep="\n")


if __name__ == "__main__":
    main()
