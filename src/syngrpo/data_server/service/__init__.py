"""The data server as a service over HTTP, and the two ends that use it."""
