"""Other methods of Tables 1 to 3, on the same shards, backbones, stream, learner and protocol.

A rival is one file with a `Network`, and one entry of `RIVALS`. It is trained by
`python -m deformer.train --experiment benchmarks.rivals:<base>_<rival>` and evaluated as any run.
"""

from benchmarks.rivals.catalogue import EXPERIMENTS, NETWORKS, RIVALS, Rival, rival_of

__all__ = ["EXPERIMENTS", "NETWORKS", "RIVALS", "Rival", "rival_of"]
