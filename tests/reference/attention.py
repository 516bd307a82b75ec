"""Attention and biases of docs/how-mega-works.md, as loops over queries and keys in float64."""

import math

import torch


def naive_simple_bias(table, i, j):
    """Entry of a table of 2M - 1 values for query i and key j."""
    return table[(len(table) + 1) // 2 - 1 + j - i]


def naive_rotary_bias(alpha, beta, i, j):
    """(R_i alpha) . (R_j beta), R_p rotating the pair (k, k + Z/2) by p * 10000^(-k / (Z/2))."""

    def rotated(vector, position):
        half = len(vector) // 2
        parts = []
        for k in range(half):
            angle = position * 10000.0 ** (-k / half)
            x, y = vector[k], vector[k + half]
            parts.append(
                (x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle))
            )
        return torch.stack([p[0] for p in parts] + [p[1] for p in parts])

    return rotated(alpha, i) @ rotated(beta, j)


def naive_weights(function, query, keys, biases):
    """Weights of one query (Z,) for its permitted keys (T, Z), biases (T,); an empty list without any."""
    if not keys:
        return []
    if function == "softmax":
        scores = [query @ k / len(query) ** 0.5 + b for k, b in zip(keys, biases, strict=True)]
        return list(torch.softmax(torch.stack(scores), 0))
    scores = [query @ k / len(keys) + b for k, b in zip(keys, biases, strict=True)]
    if function == "relu2":
        return [torch.clamp(s, min=0) ** 2 for s in scores]
    mu, sigma = math.sqrt(0.5), math.sqrt(0.25 / math.pi)
    return [0.5 * (1 + torch.erf((s - mu) / (sigma * math.sqrt(2)))) for s in scores]


def naive_attention(function, query, key, value, bias, *, permitted):
    """(L, H) from query (L, Z), key (S, Z), value (S, H), bias(i, j); permitted(i, j): may i attend to j?"""
    rows = []
    for i in range(len(query)):
        columns = [j for j in range(len(key)) if permitted(i, j)]
        weights = naive_weights(function, query[i], [key[j] for j in columns], [bias(i, j) for j in columns])
        row = torch.zeros_like(value[0])
        for weight, j in zip(weights, columns, strict=True):
            row = row + weight * value[j]
        rows.append(row)
    return torch.stack(rows)
