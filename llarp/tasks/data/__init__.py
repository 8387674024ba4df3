"""Episodes on disk: columns, shards, leaks, reports."""
