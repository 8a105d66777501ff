"""Process start to the first line of the guest's /init."""

from lib import emulators as machines


def measure(chosen, rounds, timeout):
    results = {name: [] for name in chosen}
    for n in range(rounds):
        for name, command in chosen.items():
            run = machines.Run(machines.guest_command(command, "exit 0"),
                               {"init": rb"DRAGOMAN-INIT [\d.]+", "done": rb"DRAGOMAN-EXIT 0"}, timeout, weighed_at="init")
            results[name].append({"to_init": run.marks["init"], "to_exit": run.seconds,
                                  "cpu_seconds": run.cpu_seconds, "peak_kib": run.peak_kib,
                                  "pss_kib": run.pss_kib})
            machines.progress(f"boot {n + 1}/{rounds} {name}: {run.marks['init']:.2f} s to init, "
                              f"{run.pss_kib / 1024:.0f} MiB")
    return results
