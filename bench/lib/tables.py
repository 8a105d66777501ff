"""The figures as tables of text."""

import math
import statistics


def spread(values):
    return min(values), statistics.median(values), max(values)


def geometric_mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values))


def ratios(results, who):
    """{kernel: [time over the host's time in the same round]}"""
    return {kernel: [theirs["seconds"][kernel] / host["seconds"][kernel]
                     for theirs, host in zip(results[who], results["host"])]
            for kernel in results["host"][0]["seconds"]}


def boot(results):
    lines = ["Boot to /init (seconds)          min   median      max   CPU time   peak RSS   PSS at /init (MiB)"]
    for name, runs in results.items():
        low, middle, high = spread([r["to_init"] for r in runs])
        cpu = statistics.median(r["cpu_seconds"] for r in runs)
        peak, weight = (statistics.median(r[field] for r in runs) / 1024 for field in ("peak_kib", "pss_kib"))
        lines.append(f"  {name:26} {low:8.2f} {middle:8.2f} {high:8.2f} {cpu:10.2f} {peak:10.0f} {weight:14.0f}")
    if {"dragoman", "qemu"} <= results.keys():
        for field, label in (("to_init", "time"), ("pss_kib", "memory")):
            ours, theirs = (statistics.median(r[field] for r in results[n]) for n in ("dragoman", "qemu"))
            lines.append(f"  ratio QEMU / Dragoman, {label}: {theirs / ours:.2f}")
    return "\n".join(lines)


def startup(results):
    """Milliseconds: the least of the first emulator, the median of each; Dragoman's over QEMU's."""
    lines = ["From the start to ... (ms)             min" + "".join(f"{name:>11}" for name in results) + "   of QEMU's"]
    for what in results[next(iter(results))][0]:
        of = {name: [run[what] * 1000 for run in runs] for name, runs in results.items() if what in runs[0]}
        line = f"  {what:34} {min(next(iter(of.values()))):5.0f}"
        line += "".join(f"{statistics.median(of[name]):11.0f}" if name in of else f"{'':11}" for name in results)
        if {"dragoman", "qemu"} <= of.keys():
            line += f" {statistics.median(of['dragoman']) / statistics.median(of['qemu']):12.2f}"
        lines.append(line)
    return "\n".join(lines)


def programs(title, results):
    """Time over the host's: least, median and greatest ratio of the rounds."""
    names = [n for n in results if n != "host"]
    of = {name: ratios(results, name) for name in names}
    lines = [f"{title + ', x host':24} {'host s':>8}" + "".join(f" {n + ' min':>13} {'median':>7} {'max':>7}" for n in names)]
    for kernel in results["host"][0]["seconds"]:
        line = f"  {kernel:22} {statistics.median(r['seconds'][kernel] for r in results['host']):8.3f}"
        for name in names:
            low, middle, high = spread(of[name][kernel])
            line += f" {low:13.2f} {middle:7.2f} {high:7.2f}"
        lines.append(line)
    line = f"  {'geometric mean':22} {'':8}"
    for name in names:
        line += f" {'':13} {geometric_mean([statistics.median(v) for v in of[name].values()]):7.2f} {'':7}"
    lines.append(line.rstrip())
    return "\n".join(lines)


IO_MIB = {"read": 256, "write": 256, "down": 64, "up": 64}  # of bench/guest/io.c
IO_AT_RANDOM = 4000


def io(results):
    """MiB or operations in a second, medians; and how many times QEMU's."""
    lines = ["Disks and network                  " + "".join(f"{name:>12}" for name in results) + "   times QEMU's"]
    for kernel in next(iter(results.values()))[0]["seconds"]:
        seconds = {name: statistics.median(run["seconds"][kernel] for run in runs) for name, runs in results.items()}
        amount, unit = (IO_AT_RANDOM, "/s") if kernel.endswith("-4k") else (IO_MIB[kernel.rsplit("-", 1)[1]], "MiB/s")
        line = f"  {kernel:24} {unit:>8}" + "".join(f"{amount / s:12.0f}" for s in seconds.values())
        if {"dragoman", "qemu"} <= seconds.keys():
            line += f" {seconds['qemu'] / seconds['dragoman']:14.2f}"
        lines.append(line)
    return "\n".join(lines)


def bochs_ratios(results):
    """{kernel: time over the host's time}"""
    return {kernel: took / results["host"][program][kernel]
            for program, kernels in results["bochs"].items() for kernel, took in kernels.items()}


def bochs(results):
    ratios_ = bochs_ratios(results)
    return "\n".join([f"Bochs, once: {results['to_init']:.0f} s to /init through its BIOS and GRUB, "
                      f"peak RSS {results['peak_kib'] / 1024:.0f} MiB; x host",
                      *(f"  {kernel:22} {ratio:8.1f}" for kernel, ratio in ratios_.items()),
                      f"  {'geometric mean':22} {geometric_mean(ratios_.values()):8.1f}"])


def jit(results):
    lines = ["What the translator says of itself " + "".join(f"{program:>14}" for program in results)]
    for name in next(iter(results.values())):
        values = [figures[name] for figures in results.values()]
        lines.append(f"  {name:33}" + "".join(f"{value:14}" for value in values))
    return "\n".join(lines)
