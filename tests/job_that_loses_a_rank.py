"""What tests/test_ranks.py looks at: two ranks, one of which kills itself while the other waits for it."""

import os
import signal

from gsdff.ranks import joined

with joined("cpu", on_loss="continue with: gsdff train --resume") as ranks:
    if ranks.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.wait()
