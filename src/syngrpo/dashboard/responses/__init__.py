"""The tab Responses: a picture with the answers of its group, and their texts by token."""
