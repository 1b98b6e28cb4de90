"""The terms of the training loss. Embeddings come in at any length and are compared as unit vectors.

Soft targets follow CLIP (Radford et al., arXiv 2103.00020) with near-identical pairs as partial positives, as in
MedCLIP (Wang et al., arXiv 2210.10163); the term within a modality is SupCon (Khosla et al., arXiv 2004.11362) with
weights; label scores are pairwise sigmoids as in SigLIP (Zhai et al., arXiv 2303.15343).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_cross_entropy(logits: Tensor, weights: Tensor) -> Tensor:
    """Mean cross-entropy of each row of `logits` (N, M) to its row of `weights` (N, M, >= 0) scaled to sum one.

    Rows without any weight count nothing. All-equal logits give log(M).
    """
    total = weights.sum(1, keepdim=True)
    rows = total[:, 0] > 0
    if not bool(rows.any()):
        return logits.sum() * 0.0
    targets = weights[rows] / total[rows]
    return -(targets * F.log_softmax(logits[rows], 1)).sum(1).mean()


def soft_contrastive(items: Tensor, texts: Tensor, weights: Tensor, scale: Tensor | float) -> Tensor:
    """InfoNCE in both directions with soft targets.

    Args:
        items: (N, D) embeddings of images or signals.
        texts: (M, D) embeddings of texts; equal texts once.
        weights: (N, M) how far text j is true of item i, in [0, 1].
        scale: inverse temperature.
    """
    logits = scale * F.normalize(items, dim=1) @ F.normalize(texts, dim=1).T
    return 0.5 * (soft_cross_entropy(logits, weights) + soft_cross_entropy(logits.T, weights.T))


def label_scores(items: Tensor, names: Tensor, truth: Tensor, scale: Tensor | float, bias: Tensor) -> Tensor:
    """Binary cross-entropy of every item against every label name, positives and negatives weighing the same per label.

    Args:
        items: (N, D).
        names: (L, D) embeddings of label names, of all modalities.
        truth: (N, L) in {0, 1}; an item of another modality is a negative.
        scale: inverse temperature.
        bias: (L,) learned; ranking items for a label does not depend on it.
    """
    logits = scale * F.normalize(items, dim=1) @ F.normalize(names, dim=1).T + bias
    losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    positives = (losses * truth).sum(0) / truth.sum(0).clamp(min=1.0)
    negatives = (losses * (1 - truth)).sum(0) / (1 - truth).sum(0).clamp(min=1.0)
    return (positives + negatives).mean()


def within_modality(items: Tensor, similar: Tensor, scale: Tensor | float) -> Tensor:
    """Items that share labels attract, weighted; items of the same modality that do not, repel.

    Args:
        items: (N, D).
        similar: (N, N) label overlap in [0, 1] of items of one modality, NaN for pairs of different modalities.
        scale: inverse temperature.
    """
    unit = F.normalize(items, dim=1)
    logits = scale * unit @ unit.T
    out = torch.isnan(similar) | torch.eye(len(items), dtype=torch.bool, device=items.device)
    return soft_cross_entropy(logits.masked_fill(out, -1e4), similar.masked_fill(out, 0.0))


def keep_close(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean cosine distance of sentence embeddings (N, W) to those of the encoder they came from."""
    return (1 - F.cosine_similarity(student, teacher, dim=1)).mean()
