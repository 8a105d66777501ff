"""Runs that were kept: what became slower since, and the course of the means over time."""

import json
import statistics

from lib import programs, tables

PROGRAMS = programs.NAMES
WORSE = 1.05


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def medians(report, who="dragoman"):
    """{"integer list": median time over the host's, ..., "boot": median time over QEMU's, ...}"""
    figures = {}
    for program in PROGRAMS:
        if who in report.get(program, {}):
            for kernel, values in tables.ratios(report[program], who).items():
                figures[f"{program} {kernel}"] = statistics.median(values)
    def over_qemu(runs, field):
        ours, theirs = (statistics.median(run[field] for run in runs[n]) for n in (who, "qemu"))
        return ours / theirs

    boots, starts = report.get("boot", {}), report.get("startup", {})
    if {who, "qemu"} <= boots.keys():
        figures["boot"] = over_qemu(boots, "to_init")
    if {who, "qemu"} <= starts.keys():
        figures |= {f"startup {what}": over_qemu(starts, what) for what in starts["qemu"][0]}
    return figures


def regressions(report, earlier):
    """Lines about every figure that is more than 5% above the earlier run's; empty if there is none."""
    before = medians(earlier)
    return [f"  {name:30} {before[name]:8.2f} -> {now:8.2f}  ({now / before[name] - 1:+.0%})"
            for name, now in medians(report).items() if name in before and now > WORSE * before[name]]


def means(report):
    """{"integer": geometric mean, "classes": ..., "boot": ratio} of the parts that this run measured."""
    figures = medians(report)
    result = {}
    for program in PROGRAMS:
        values = [v for name, v in figures.items() if name.startswith(program + " ")]
        if values:
            result[program] = tables.geometric_mean(values)
    return result | ({"boot": figures["boot"]} if "boot" in figures else {})
