"""Effects as sentences: direction, amount with interval, size by convention, and whether it is decided."""

from __future__ import annotations

from retrieval.run.metric_names import larger_is_better

CONVENTIONS = ((0.2, "negligible"), (0.5, "small"), (0.8, "medium"))
"""Cohen (1988), *Statistical Power Analysis*, sec. 2.2: limits of |d| and words; above them large."""


def size_word(size: float) -> str:
    """``negligible``, ``small``, ``medium`` or ``large`` for an effect in standard deviations."""
    return next((word for limit, word in CONVENTIONS if abs(size) < limit), "large")


def number(value: float) -> str:
    """Three significant digits at most, with a true minus: ``−0.0412``."""
    return f"{value:.3g}".replace("-", "−")


def effect_words(
    name: str,
    against: str,
    what: tuple[str, str],
    ends: tuple[float, float, float],
    size: float,
    p_holm: float,
    alpha: float,
) -> str:
    """``strategy=pareto lowers ood contrastive entropy by 0.21 [0.15, 0.27] against standard: better, …``.

    ``what``: kind and metric; ``ends``: estimate, low and high; ``size``: in standard deviations.
    """
    kind, metric = what
    value, low, high = ends
    verb = "raises" if value > 0 else "lowers"
    if value < 0:
        value, low, high = -value, -high, -low
    to = f" against {against}" if against else ""
    amount = f"{number(value)} [{number(low)}, {number(high)}]"
    text = f"{name} {verb} {kind} {metric.replace('_', ' ')} by {amount}{to}"
    if p_holm >= alpha:
        return f"{text}: not decided (p = {p_holm:.2g}, Holm)"
    judged = "better" if (verb == "raises") == larger_is_better(metric) else "worse"
    return f"{text}: {judged}, {size_word(size)} (d = {abs(size):.2f}, p = {p_holm:.2g}, Holm)"
