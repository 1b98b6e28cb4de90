"""Searching an index: `Engine` asks, `Results` answers.

query.py negation.py      what may be asked, and what its words deny
compose.py                a query as one vector
calibrate.py candidates.py  scores that mean the same in every modality; the best items under them
hubness.py rerank.py lexical.py fuse.py group.py  what may be done with a ranking
ranking.py                these steps in their order
engine.py results.py sheet.py  asked and answered
"""

from m3search.search.engine import Engine
from m3search.search.query import Query
from m3search.search.results import Results

__all__ = ["Engine", "Query", "Results"]
