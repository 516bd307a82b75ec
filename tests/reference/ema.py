"""The EMA from the paper's equations, as a loop in float64."""

import torch


def naive_ema(x, alpha, delta, beta, eta, h, truncation=None):
    """x (B, L, D), parameters (D, N), h (B, D, N): y (B, L, D) and the last h."""
    x, alpha, delta, beta, eta, h = (t.double() for t in (x, alpha, delta, beta, eta, h))
    a = torch.sigmoid(alpha)
    q = 1.0 - a * torch.sigmoid(delta)
    ys = []
    for t in range(x.size(1)):
        h = q * h + a * beta * x[:, t].unsqueeze(-1)
        if truncation is not None and t >= truncation:
            h = h - q**truncation * a * beta * x[:, t - truncation].unsqueeze(-1)
        ys.append((eta * h).sum(-1) / eta.size(-1) ** 0.5)
    return torch.stack(ys, 1), h
