"""A linear probe: multinomial logistic regression on frozen vectors, in numpy and scipy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Float64 = npt.NDArray[np.float64]

STRENGTH = 10.0  # inverse of the L2 penalty, scikit-learn's C: weak, as unit vectors need large weights


def fit_probe(
    vectors: npt.NDArray[np.floating], target: npt.NDArray[np.intp], classes: int, strength: float = STRENGTH
) -> tuple[Float64, Float64]:
    """Weights (D, C) and bias (C,) that minimise `strength` times the weighted sum of cross-entropies plus half the
    squared norm of the weights. Items weigh so that all classes that have any weigh alike, N in sum; the bias is not
    penalised. scikit-learn's LogisticRegression(C=strength, class_weight="balanced") has the same optimum.

    Args:
        vectors: (N, D).
        target: (N,) the class of each, from 0; a class without an item is never predicted.
        classes: how many there are.
        strength: how little weights are penalised.
    """
    from scipy.optimize import minimize

    vectors = np.asarray(vectors, dtype=np.float64)
    # The optimum lies in the span of the N vectors: fewer unknowns than dimensions while there are few of them.
    basis = np.linalg.qr(vectors.T)[0] if len(vectors) < vectors.shape[1] else np.eye(vectors.shape[1])
    inputs, wanted = vectors @ basis, np.eye(classes)[target]
    counts = np.bincount(target, minlength=classes)
    weight = strength * len(target) / ((counts > 0).sum() * counts[target])
    size = inputs.shape[1]

    def loss(flat: Float64) -> tuple[float, Float64]:
        weights, bias = flat[:-classes].reshape(size, classes), flat[-classes:]
        logits = inputs @ weights + bias
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        total = odds.sum(axis=1, keepdims=True)
        entropy = np.log(total[:, 0]) - logits[wanted > 0]
        slope = weight[:, None] * (odds / total - wanted)
        gradient = np.concatenate([(inputs.T @ slope + weights).ravel(), slope.sum(axis=0)])
        return float(weight @ entropy + 0.5 * (weights**2).sum()), gradient

    found = minimize(
        loss, np.zeros((size + 1) * classes), jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-4}
    ).x
    return basis @ found[:-classes].reshape(size, classes), found[-classes:]
