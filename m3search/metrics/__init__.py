"""Measures, what chance reaches in them, and their confidence intervals; numpy only."""

from m3search.metrics.binary import auroc, nan_mean, weighted_share
from m3search.metrics.bootstrap import Interval, bootstrap_interval, interval_of
from m3search.metrics.chance import expected, expected_average_precision
from m3search.metrics.ranked import (
    MEASURES,
    Measure,
    Ranking,
    average_precision,
    mean,
    mean_average_precision,
    mrr,
    ndcg_at_k,
    precision_at_k,
    rank,
    recall_at_k,
    reciprocal_rank,
    success_at_k,
)

__all__ = [
    "MEASURES",
    "Interval",
    "Measure",
    "Ranking",
    "auroc",
    "average_precision",
    "bootstrap_interval",
    "expected",
    "expected_average_precision",
    "interval_of",
    "mean",
    "mean_average_precision",
    "mrr",
    "nan_mean",
    "ndcg_at_k",
    "precision_at_k",
    "rank",
    "recall_at_k",
    "reciprocal_rank",
    "success_at_k",
    "weighted_share",
]
