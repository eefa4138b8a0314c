"""One run of a program with its GPU memory by the driver, and the arithmetic of a training step."""

import ctypes
import json
import os
import signal
import subprocess
import threading
import time


class Nvml:
    """The driver's management library; `None` answers where it is missing."""

    class Memory(ctypes.Structure):
        _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]

    class Process(ctypes.Structure):
        _fields_ = [
            ("pid", ctypes.c_uint),
            ("used", ctypes.c_ulonglong),
            ("gpu_instance", ctypes.c_uint),
            ("compute_instance", ctypes.c_uint),
        ]

    def __init__(self):
        self.device = None
        try:
            self.library = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return
        device = ctypes.c_void_p()
        if self.library.nvmlInit_v2() == 0 and self.library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) == 0:
            self.device = device

    def used_bytes(self):
        memory = self.Memory()
        if self.device is None or self.library.nvmlDeviceGetMemoryInfo(self.device, ctypes.byref(memory)) != 0:
            return None
        return memory.used

    def process_bytes(self, pid):
        if self.device is None:
            return None
        processes, n = (self.Process * 64)(), ctypes.c_uint(64)
        ask = self.library.nvmlDeviceGetComputeRunningProcesses_v3
        if ask(self.device, ctypes.byref(n), processes) != 0:
            return None
        found = [p.used for p in processes[: n.value] if p.pid == pid and p.used < 1 << 60]
        return sum(found) if found else None


NVML = Nvml()


def run(command, timeout_secs, environment=None):
    """Runs a command; its exit code (None: stopped at the limit), output, seconds and peak GPU memory.

    `peak_gpu_bytes` is the process's own by the driver, `peak_gpu_delta_bytes` what the card had more in use than before,
    which says the same where the driver does not know the process by this number (in a container)."""
    before, peak, peak_used = NVML.used_bytes(), None, None
    start = time.monotonic()
    try:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    except OSError as error:
        nothing = {"peak_gpu_bytes": None, "peak_gpu_delta_bytes": None}
        return {"command": " ".join(command), "code": 127, "secs": 0.0, **nothing, "output": str(error)}
    done = threading.Event()

    def watch():
        nonlocal peak, peak_used
        while not done.wait(0.05):
            for read, name in ((NVML.process_bytes(process.pid), "own"), (NVML.used_bytes(), "used")):
                if read is None:
                    continue
                if name == "own":
                    peak = max(peak or 0, read)
                else:
                    peak_used = max(peak_used or 0, read)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        output, _ = process.communicate(timeout=max(timeout_secs, 1))
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        code = None
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    done.set()
    watcher.join()
    delta = peak_used - before if peak_used is not None and before is not None else None
    return {
        "command": " ".join(command),
        "code": code,
        "secs": round(time.monotonic() - start, 2),
        "peak_gpu_bytes": peak,
        "peak_gpu_delta_bytes": delta,
        "output": output,
    }


def last_json(output):
    """The document on the last line that is one."""
    for line in reversed(output.strip().splitlines()):
        if line.startswith("{"):
            try:
                return json.loads(line)
            except ValueError:
                continue
    return None


def flops_per_token(config, method, rank, segment_tokens):
    """Forward and backward without what is computed again: docs/performance.md."""
    hidden, layers, inter = (config[key] for key in ("hidden_size", "num_hidden_layers", "intermediate_size"))
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    width = config.get("head_dim") or hidden // heads
    linears = [
        (hidden, heads * width),
        (hidden, kv * width),
        (hidden, kv * width),
        (heads * width, hidden),
        (hidden, inter),
        (hidden, inter),
        (inter, hidden),
    ]
    blocks = layers * sum(inputs * outputs for inputs, outputs in linears)
    adapter = layers * sum(rank * (inputs + outputs) for inputs, outputs in linears)
    head = hidden * config["vocab_size"]
    attention = 2 * segment_tokens * heads * width * layers
    if method == "full":
        return 6 * blocks + 6 * head + 3.5 * attention
    return 4 * blocks + 4 * head + 6 * adapter + 3.5 * attention
