"""What a decision costs: parameters there are, parameters touched, multiply-adds."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Cost:
    """Of one decision, on the average over decisions.

    Attributes:
        parameters: Numbers that training chose.
        touched: Of these, how many a decision reads. Of a tree only the thresholds, feature
            numbers and values along its path.
        multiply_adds: Connections that a decision goes through; a tree's comparisons and the sums
            over its leaves are counted alike.
    """

    parameters: float
    touched: float
    multiply_adds: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.parameters + other.parameters,
            self.touched + other.touched,
            self.multiply_adds + other.multiply_adds,
        )

    def __mul__(self, count: int) -> Cost:
        return Cost(count * self.parameters, count * self.touched, count * self.multiply_adds)

    def plain(self) -> dict[str, float]:
        """As plain types."""
        return {name: float(value) for name, value in asdict(self).items()}


def all_asked(parameters: int, multiply_adds: int) -> Cost:
    """Of a net of which every decision uses everything."""
    return Cost(parameters, parameters, multiply_adds)


def one_asked(gate: Cost, expert: Cost, num_experts: int) -> Cost:
    """Of a gate that asks one of several experts of one size."""
    return Cost(
        gate.parameters + num_experts * expert.parameters,
        gate.touched + expert.touched,
        gate.multiply_adds + expert.multiply_adds,
    )
