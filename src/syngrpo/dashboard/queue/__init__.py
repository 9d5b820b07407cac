"""The tab Data server: jobs, workers, leases and errors."""
