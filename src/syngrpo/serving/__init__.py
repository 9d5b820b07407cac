"""What the data server, the rollout server and their clients have in common.

- Every server: ``listening`` opens its socket, ``bearer_token`` checks who may use it, ``refusals``
  answers requests that it refuses.
- Every client: ``http_client`` sends requests to a server and repeats them until it answers.
- ``supervision`` starts worker processes and replaces those that die.
- ``atomic_files`` writes files and directories that are complete or absent, ``devices`` reads the
  name of a torch device, ``wording`` counts things in messages. All other folders use these, too.

Nothing here knows of samples, pools or models. Each module can be read by itself.
"""
