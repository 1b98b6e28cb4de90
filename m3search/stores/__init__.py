"""Where vectors and their descriptions are kept.

LanceDB (`lance`) is the system of record; `segment` is a fast copy of it that can be rebuilt at any time, with a FAISS
index (`faiss`) where it is large; `memory` is the oracle of the tests; `folder` is the index folder that holds them.
"""
