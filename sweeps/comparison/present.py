"""A comparison in words and cells of tables, for the terminal and the report."""

from __future__ import annotations

from sweeps.comparison.record import Against, Judged, Regret


def judged(found: Judged) -> str:
    """``-0.123 [-0.150, -0.096] p=.002*``; without seeds enough the difference alone."""
    text = f"{found.difference:+.4f}"
    if found.low is None:
        return text
    mark = "*" if found.better else " "
    return f"{text} [{found.low:+.4f}, {found.high:+.4f}] p={found.p_holm:.3f}{mark}"


def regret_rows(regret: Regret, name: str) -> list[list[str]]:
    """The worst and the mean regret of every policy in one metric, below a heading."""
    known = regret.by[name].known(name)
    rows = [["", *(part for words in known for part in (f"worst, {words}", "mean"))]]
    for label in next(iter(known.values())).policies if known else ():
        row = [regret.title(label)]
        for found in known.values():
            policy = found.policies[label]
            where = f" ({policy.worst_cell})" if policy.worst_cell else ""
            row += [_nats(policy.worst) + where, _nats(policy.mean)]
        rows.append(row)
    return rows


def verdict(strategy: str, words: str, against: Against) -> str:
    """Whether the strategy beats every single ω, in one sentence."""
    found = against.verdict
    if found.better_than_any_single is None:
        return f"{words}: no single ω was run in all cells, so there is nothing to hold {strategy} against"
    than = "below" if found.better_than_any_single else "not below"
    least = f"{found.best_single}, {_nats(found.best_single_worst)}"
    own = _nats(found.strategy_worst)
    return f"{words}: worst regret of {strategy} {own}, {than} that of every single ω (least: {least})"


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
