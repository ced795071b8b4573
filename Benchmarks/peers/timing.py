"""Times calls in chunks that are long enough for the clock."""

import gc
import itertools
import statistics
import time
from typing import NamedTuple


class Effort(NamedTuple):
    warm_seconds: float
    seconds: float
    chunk_seconds: float
    least_chunks: int


EFFORTS = {
    "quick": Effort(warm_seconds=0.003, seconds=0.01, chunk_seconds=0.0005, least_chunks=3),
    "full": Effort(warm_seconds=0.1, seconds=0.5, chunk_seconds=0.001, least_chunks=30),
}


def measure(case, effort):
    """The nanoseconds of one call of `case`: the least and the median of the chunks' means.

    Each call gets the next of the case's samples. Included are the call by Python and the loop around it; the garbage
    collector is off, as objects here go when the last reference does. `cpu_share` is processor time over wall time:
    well below 1, something else had the core.
    """
    ring = itertools.cycle(case.samples)

    def chunk(calls):
        call = case.call
        began = time.perf_counter_ns()
        for sample in itertools.islice(ring, calls):
            call(*sample)
        return time.perf_counter_ns() - began

    with case.mode():
        calls, spent = 1, chunk(1)
        warm = time.perf_counter() + effort.warm_seconds
        while time.perf_counter() < warm or spent < effort.chunk_seconds * 1e9 / 2:
            if spent < effort.chunk_seconds * 1e9 / 2:
                calls *= 2
            spent = chunk(calls)

        gc.collect()
        gc.disable()
        wall, cpu = time.perf_counter(), time.process_time()
        chunks = []
        while len(chunks) < effort.least_chunks or time.perf_counter() < wall + effort.seconds:
            chunks.append(chunk(calls) / calls)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        gc.enable()

    return {
        "median_ns": statistics.median(chunks),
        "min_ns": min(chunks),
        "chunks": len(chunks),
        "calls_per_chunk": calls,
        "cpu_share": cpu / wall,
    }
