"""m3search: one search over medical archives of five modalities. A research tool, not a medical device."""

__version__ = "0.1.0"
