"""The terms of the training loss. Embeddings come in at any length; all but `align_mse` compare them as unit vectors.

M3Bind (Liu et al., arXiv 2506.18072) adds up a contrastive loss per modality and an alignment loss per pair of text
encoders. InfoNCE: van den Oord et al., arXiv 1807.03748, as in CLIP (Radford et al., arXiv 2103.00020). Soft targets
follow CLIP with near-identical pairs as partial positives, as in MedCLIP (Wang et al., arXiv 2210.10163); the term
within a modality is SupCon (Khosla et al., arXiv 2004.11362) with weights; label scores are pairwise sigmoids as in
SigLIP (Zhai et al., arXiv 2303.15343).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

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


def soft_contrastive(
    items: Tensor,
    texts: Tensor,
    weights: Tensor,
    scale: Tensor | float,
    more_texts: tuple[Tensor, Tensor] | None = None,
    more_items: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """InfoNCE in both directions with soft targets.

    Args:
        items: (N, D) embeddings of images or signals.
        texts: (M, D) embeddings of texts; equal texts once.
        weights: (N, M) how far text j is true of item i, in [0, 1].
        scale: inverse temperature.
        more_texts: further texts (K, D) that items are compared with, and how true they are of them (N, K): a queue.
        more_items: further items (K, D) that texts are compared with, and (M, K).
    """
    items, texts = F.normalize(items, dim=1), F.normalize(texts, dim=1)
    to_texts, to_items = scale * items @ texts.T, scale * texts @ items.T
    text_weights, item_weights = weights, weights.T
    if more_texts is not None:
        to_texts = torch.cat([to_texts, scale * items @ F.normalize(more_texts[0], dim=1).T], 1)
        text_weights = torch.cat([text_weights, more_texts[1]], 1)
    if more_items is not None:
        to_items = torch.cat([to_items, scale * texts @ F.normalize(more_items[0], dim=1).T], 1)
        item_weights = torch.cat([item_weights, more_items[1]], 1)
    return 0.5 * (soft_cross_entropy(to_texts, text_weights) + soft_cross_entropy(to_items, item_weights))


def info_nce(items: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """InfoNCE of pairs, items (N, D) and texts (N, D): only the own one is right, even where texts are equal."""
    return soft_contrastive(items, texts, torch.eye(len(items), device=items.device), scale)


def sigmoid_pairs(items: Tensor, texts: Tensor, weights: Tensor, scale: Tensor | float, bias: Tensor | float) -> Tensor:
    """SigLIP: binary cross-entropy of every pair of items (N, D) and texts (M, D), summed over texts, mean over items.

    Args:
        weights: (N, M) in [0, 1], how far text j is true of item i.
        scale: inverse temperature.
        bias: added to every logit; SigLIP starts it at -10, since nearly all pairs are wrong.
    """
    logits = scale * F.normalize(items, dim=1) @ F.normalize(texts, dim=1).T + bias
    return F.binary_cross_entropy_with_logits(logits, weights, reduction="none").sum(1).mean()


def label_scores(
    items: Tensor,
    names: Tensor,
    truth: Tensor,
    scale: Tensor | float,
    bias: Tensor,
    believed: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of every item against every label name, positives and negatives weighing the same per label.

    Args:
        items: (N, D).
        names: (L, D) embeddings of label names, of all modalities.
        truth: (N, L) in {0, 1}; an item of another modality is a negative.
        scale: inverse temperature.
        bias: (L,) learned; ranking items for a label does not depend on it.
        believed: (N, L) in [0, 1], the targets, where these are softer than the truth, which then only weighs.
    """
    logits = scale * F.normalize(items, dim=1) @ F.normalize(names, dim=1).T + bias
    losses = F.binary_cross_entropy_with_logits(logits, truth if believed is None else believed, reduction="none")
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


def align_mse(a: Tensor, b: Tensor) -> Tensor:
    """M3Bind: mean squared difference of two encoders' embeddings (N, D) of the same texts, as they come."""
    return F.mse_loss(a, b)


def align_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Mean cosine distance of two encoders' embeddings (N, D) of the same texts."""
    return (1 - F.cosine_similarity(a, b, dim=1)).mean()


def align_relational(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of the cosines among texts in one encoder (N, D) and the other: blind to rotations."""
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    return (a @ a.T - b @ b.T).square().mean()


ALIGNMENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": align_mse,
    "cosine": align_cosine,
    "relational": align_relational,
    "cosine+relational": lambda a, b: align_cosine(a, b) + align_relational(a, b),
}


def alignment(centres: Mapping[str, Tensor], kind: str = "mse") -> Tensor:
    """Sum over pairs of encoders of how far apart their embeddings (N, D) of the same centre texts are."""
    align = ALIGNMENTS[kind]
    pairs = [align(a, b) for a, b in combinations(centres.values(), 2)]
    return torch.stack(pairs).sum() if pairs else next(iter(centres.values())).sum() * 0.0


def distil(student: Tensor, teacher: Tensor, scale: float = 10.0) -> Tensor:
    """How far the student's embeddings (N, D) of texts are from the teacher's: cosine distance, and the divergence of
    the softmax over each text's similarities to the others, which keeps neighbours in order."""
    student, teacher = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    alone = torch.eye(len(student), dtype=torch.bool, device=student.device)
    wanted = (scale * teacher @ teacher.T).masked_fill(alone, -1e4).softmax(1)
    found = (scale * student @ student.T).masked_fill(alone, -1e4).log_softmax(1)
    return (1 - (student * teacher).sum(1)).mean() + F.kl_div(found, wanted, reduction="batchmean")


def nested(dims: Sequence[int], term: Callable[[int], Tensor]) -> Tensor:
    """Mean of a term over leading dimensions: Matryoshka (Kusupati et al., arXiv 2205.13147)."""
    return torch.stack([term(dim) for dim in dims]).mean()
