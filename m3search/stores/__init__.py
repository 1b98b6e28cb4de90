"""Where vectors and their descriptions are kept. LanceDB is the system of record; every other store can be rebuilt from it."""
