"""What the workers of one training, under mlx.launch, tell each other before it begins."""

import json
import os
import signal
import threading
import zlib
from pathlib import Path

import mlx.core as mx


def share(world, payload: bytes) -> bytes:
    """Worker 0's `payload`, on every worker: they need not see each other's disks."""
    if world.size() == 1:
        return payload
    mine = payload if world.rank() == 0 else b""
    size = mx.distributed.all_sum(mx.array([len(mine)]), group=world, stream=mx.cpu).item()
    data = mx.array(bytearray(mine or size), mx.uint8)
    return bytes(mx.distributed.all_sum(data, group=world, stream=mx.cpu))


def share_files(world, options: dict[str, str], scratch: Path) -> dict[str, str]:
    """`options` for this worker: on others than 0 they name copies in `scratch`, and it."""
    for key in ("--config", "--resume-adapter-file"):
        if not (path := options.get(key)):
            continue
        content = share(world, Path(path).read_bytes() if world.rank() == 0 else b"")
        if world.rank():
            copy = scratch / Path(path).name
            copy.write_bytes(content)
            options[key] = str(copy)
    return options if world.rank() == 0 else options | {"--adapter-path": str(scratch)}


def check_workers_agree(world, plan: list) -> None:
    """Raises ValueError, on every worker, when they are about to train different things."""
    mine = mx.array([zlib.crc32(json.dumps(plan).encode())], mx.uint32)
    gathered = mx.distributed.all_gather(mine, group=world, stream=mx.cpu)
    if len(set(gathered.tolist())) > 1:
        raise ValueError("the workers differ in options or data; give every host the same clone")


def end_with_launcher() -> None:
    """End when standard input closes: mlx.launch holds it open for as long as it lives."""

    def wait():
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
