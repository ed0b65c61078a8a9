"""One replica that serves requests: continuous batching, chunked prefill, a paged cache."""
