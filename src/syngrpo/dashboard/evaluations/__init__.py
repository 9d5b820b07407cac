"""The tab Evaluation: predictions of one or two models beside the truth."""
