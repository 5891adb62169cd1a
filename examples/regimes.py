"""Power of a heat pump that heats or cools: a mixture of two linear experts beside plain nets.

The table is synthetic: weather and occupancy, with noise of 0.1 kW. The pump heats on cold days and
cools on warm or sunny ones; no model is given the regime.
"""

import torch
from torch import Tensor, nn

from phoneme_moe import mixture as moe
from phoneme_moe.report import RoutingTable, summarize, verdict
from phoneme_moe.report.information import information_about


def days(number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Standardised columns, shape (days, 5); power in kW, (days, 1); whether the pump heats."""
    columns = torch.rand(number, 5)
    warmth, wind, sun, humidity, people = columns.T
    outside = -10 + 45 * warmth  # degrees Celsius
    heats = outside + 5 * sun < 17
    heating = 0.30 * (17 - outside) + 3 * wind - 3 * sun - 2 * people + 3
    cooling = 0.35 * (outside - 17) - wind + 3 * sun + 2 * people + 3 * humidity + 1
    power = torch.where(heats, heating, cooling) + 0.1 * torch.randn(number)
    return (columns - 0.5) * 12**0.5, power[:, None], heats


def competitive(output: moe.MixtureOutput, power: Tensor) -> Tensor:
    """Negative log likelihood of a mixture of Gaussians (Jacobs et al. 1991, equation 3)."""
    log_weights = output.routing.log_weights
    return moe.competitive_error(log_weights, output.expert_outputs, power, sigma=0.5).mean()


torch.set_num_threads(1)
torch.manual_seed(0)
(inputs, power, _), (test_inputs, test_power, heats) = days(2000), days(2000)
for name, hidden in (("net with 4 units", 4), ("net with 50 units", 50), ("mixture", 0)):
    experts = moe.Experts(moe.FeedForward(2, 5, 1), outputs="values")
    gate = moe.Gate(moe.FeedForward(1, 5, 2))
    model: nn.Module = moe.MixtureOfExperts(experts, gate, combination="maximum")
    if hidden:
        model = nn.Sequential(nn.Linear(5, hidden), nn.ReLU(), nn.Linear(hidden, 1))
    loss = nn.functional.mse_loss if hidden else competitive
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for _ in range(100):
        for batch in torch.randperm(len(inputs)).split(50):
            optimizer.zero_grad()
            loss(model(inputs[batch]), power[batch]).backward()
            optimizer.step()
        schedule.step()
    output = model(test_inputs)
    prediction = output if hidden else output.outputs
    rmse = (prediction - test_power).square().mean().sqrt().item()
    print(f"{name}: RMSE {rmse:.2f} kW, {sum(p.numel() for p in model.parameters())} weights")
weights = output.routing.weights.numpy(force=True)
regimes = ["heating" if cold else "cooling" for cold in heats]
table = RoutingTable.of_labels(weights, regimes, label_name="regime")
print(f"Mutual information of expert and regime: {information_about(table)[0]:.2f} bits.")
print(*verdict(summarize(table, unit="day")), sep="\n")
