"""The speed of a float32 product with and without OpenBLAS: `make bench-blas`.

Each is measured in processes of its own, in turns. The fastest counts: a busy machine only slows.
"""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEASURE = """
import time
import mlx.core as mx

n, times = 1024, []
a, b = mx.random.normal((n, n)), mx.random.normal((n, n))
mx.eval(a, b)
for _ in range(5):
    start = time.perf_counter()
    mx.eval(a @ b)
    times.append(time.perf_counter() - start)
print(2 * n**3 / min(times) / 1e9)
"""


def gflops(**environment) -> float:
    """GFLOP/s of a 1024 x 1024 x 1024 float32 product in a fresh process."""
    environment = {**os.environ, "LD_PRELOAD": "", "LD_LIBRARY_PATH": "", **environment}
    command = [str(ROOT / "bin/python"), "-c", MEASURE]
    return float(subprocess.check_output(command, env=environment, text=True))


def main() -> None:
    if not (ROOT / ".venv/fast_blas/libphase40blas.so").exists():
        print("bench-blas: mlx's own BLAS is used on this system")
        return
    turns = [(gflops(NO_FAST_BLAS="1"), gflops()) for _ in range(3)]
    plain, fast = map(max, zip(*turns, strict=True))
    print(f"mlx's reference BLAS {plain:8.1f} GFLOP/s")
    print(f"OpenBLAS             {fast:8.1f} GFLOP/s   {fast / plain:.0f} times")


if __name__ == "__main__":
    main()
