"""What the data server, the rollout server and their clients have in common.

- For servers: ``listening`` opens the socket, ``bearer_token`` checks the token of a request, and
  ``refusals`` answers requests that are refused.
- For clients: ``http_client`` sends requests to a server and repeats them until it answers.
- ``supervision`` starts worker processes and replaces those that die.
- For all folders: ``atomic_files`` writes files and directories that are complete or absent,
  ``timeline`` records what the processes of a run do, ``devices`` reads the name of a torch
  device, ``wording`` writes numbers of things and the text of errors in messages.

Nothing here uses samples, pools or models. Each module can be read by itself.
"""
