"""mlx.launch, but it waits while the workers compute, and ends without a traceback after Ctrl-C.

mlx 0.32.4 asks in a loop whether it may write to the workers, and whether there is input for them.
Both are always true where nobody writes: on two cores it took most of one from the training.
"""

import signal
import sys
from select import select

from mlx._distributed_utils import launch


def wait_for_output(readable, _writable, failed, seconds):
    """select() for what the workers print only. They get no input."""
    output = [file for file in readable if file != sys.stdin.fileno()]
    return select(output, [], failed, seconds)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: None)
    launch.select = wait_for_output
    launch.main()
