"""What a process like the service's needs: seconds until its model is warm, and memory after 10,000 alerts."""

import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter

ALERTS, BATCH = 10_000, 1024


def measure() -> dict[str, float]:
    """With the shipped model, the worker's and the API's modules loaded; starting Python is counted in."""
    started = perf_counter()
    with subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        ready = perf_counter() - started
        measured: dict[str, float] = json.loads(child.stdout.read())
    if child.returncode:
        raise SystemExit("the process failed")
    return {"seconds_to_ready": ready, **measured}


def _child() -> None:
    from models.classifier import Classifier  # noqa: PLC0415 - in the process that is measured only
    from models.inputs import alert, avro  # noqa: PLC0415
    from service import pipeline, serve  # noqa: F401, PLC0415
    from service.inference import Inference  # noqa: PLC0415
    from service.metrics import Metrics  # noqa: PLC0415
    from tests.benchmarks import real  # noqa: PLC0415

    inference = Inference(Classifier.load(), Metrics(), max_waiting=1)
    inference.warm_up()
    alert.warm_up()
    print("ready", flush=True)
    at_start = peak_mebibytes()
    messages = real.messages()[:ALERTS]
    read = peak_mebibytes()
    for start in range(0, len(messages), BATCH):
        decoded = alert.alert_batch([avro.unread(message) for message in messages[start : start + BATCH]])
        pipeline.answer(inference.classifier, decoded, infer=lambda alerts: inference.classify(alerts).result())
    inference.close()
    print(json.dumps({"mebibytes_ready": at_start, "mebibytes_alerts_read": read, "mebibytes_peak": peak_mebibytes()}))


def peak_mebibytes(pid: int | str = "self") -> float:
    """Of resident memory so far. Not getrusage's, which begins with what the process that starts this one had."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
    return int(peak) / 1024


def cuda_mebibytes(pid: int | str = "self") -> float:
    """Resident pages of CUDA's files, which come with PyTorch's usual build and not with that for CPUs."""
    kibibytes, is_cuda = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, value = line.partition(" ")
        if not name.endswith(":"):
            is_cuda = "/nvidia/" in line or "cuda" in line.rpartition("/")[2]
        elif name == "Rss:" and is_cuda:
            kibibytes += int(value.split()[0])
    return kibibytes / 1024


def forget_peak() -> None:
    """Of this process: begin anew with what it has now."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    _child()
