"""mlx.launch without a traceback after Ctrl-C: the workers get the signal too, and it waits."""

import signal

from mlx._distributed_utils.launch import main

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: None)
    main()
