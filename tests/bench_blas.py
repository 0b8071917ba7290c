"""The speed of a float32 product with and without OpenBLAS in front: `make bench-blas`.

Both are measured in one run, in turns, each in a process of its own; the best of several counts,
since a busy machine can only make a product slower.
"""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3
MEASURE = """
import time
import mlx.core as mx

n = 1024
a, b = mx.random.normal((n, n)), mx.random.normal((n, n))
mx.eval(a, b)
best = float("inf")
for _ in range(5):
    start = time.perf_counter()
    mx.eval(a @ b)
    best = min(best, time.perf_counter() - start)
print(2 * n**3 / best / 1e9)
"""


def gflops(with_openblas: bool) -> float:
    """GFLOP/s of a 1024 x 1024 x 1024 float32 product in a fresh process."""
    environment = os.environ | ({} if with_openblas else {"NO_FAST_BLAS": "1"})
    for name in ("LD_PRELOAD", "LD_LIBRARY_PATH"):
        environment.pop(name, None)
    command = [str(ROOT / "bin/python"), "-c", MEASURE]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(run.stdout)


def main():
    if not (ROOT / ".venv/fast_blas/libphase40blas.so").exists():
        print("bench-blas: no OpenBLAS in front here: mlx's own is the fast one on this system")
        return
    plain, fast = 0.0, 0.0
    for _ in range(ROUNDS):
        plain = max(plain, gflops(with_openblas=False))
        fast = max(fast, gflops(with_openblas=True))
    print(f"float32 product, 1024^3, best of {ROUNDS} processes each, in turns:")
    print(f"  mlx's reference BLAS {plain:8.1f} GFLOP/s")
    print(f"  OpenBLAS in front    {fast:8.1f} GFLOP/s   {fast / plain:.0f} times")


if __name__ == "__main__":
    main()
