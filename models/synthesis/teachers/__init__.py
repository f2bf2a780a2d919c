"""Who writes the data: a model in this process, or one behind somebody's server."""
