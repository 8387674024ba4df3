"""One step of the pipeline each: read files, call llarp, write files and metrics."""
