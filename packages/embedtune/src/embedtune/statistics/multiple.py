"""Several tests at once."""

from collections.abc import Sequence

__all__ = ["holm"]


def holm(p_values: Sequence[float]) -> list[float]:
    """P values such that calling those below 0.05 errs on any of them with a chance of at most 0.05.

    Holm's step-down procedure (Holm 1979): the smallest is multiplied by the number of tests, the next by one less,
    and none becomes smaller than the one before it. It holds however the tests depend on each other.

    Args:
        p_values: Each in [0, 1].

    Returns:
        The adjusted p values, in the order given; each at most 1.

    >>> holm([0.5, 0.25, 0.125])
    [0.5, 0.5, 0.375]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted
