"""Where files are read and vectors are made: processes of this machine (`local`), or the nodes of a cluster (`ray`)."""
