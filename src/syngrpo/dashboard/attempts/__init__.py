"""The tab Config & logs: the configuration and the messages of each attempt."""
