"""Cross-entropy with smoothed targets (Szegedy et al. 2016, section 7), as loops over positions and words."""

import torch


def naive_cross_entropy(logits, target, smoothing):
    """Loss and negative log-likelihood (N) of logits (N, V)."""
    losses, likelihoods = [], []
    for row, word in zip(logits, target.tolist(), strict=True):
        total = sum(torch.exp(x) for x in row)
        log_p = [torch.log(torch.exp(x) / total) for x in row]
        q = [1 - smoothing if v == word else smoothing / (len(row) - 1) for v in range(len(row))]
        losses.append(-sum(share * log for share, log in zip(q, log_p, strict=True)))
        likelihoods.append(-log_p[word])
    return torch.stack(losses), torch.stack(likelihoods)
