"""UEFI firmware: what its shell keeps in the flash is there in the next run."""

import os

from console import Failure

OVMF = "/usr/share/OVMF"  # package ovmf
VARIABLE = "kept -guid 11111111-2222-3333-4444-555555555555"


def contents(name):
    with open(os.path.join(OVMF, name), "rb") as source:
        return source.read()


def shell(test, flashes, *commands):
    """Starts the shell; gives it these, each a command and what must come of it; turns the machine off."""
    console = test.start("-nic", "none", *flashes)
    console.expect(r"any other key to continue")
    console.send("\x1b")
    for command, wanted in commands:
        console.expect(r"Shell> ")
        console.send(command + "\r")
        console.expect(wanted)
        console.say(f"ok: {command}")
    console.expect(r"Shell> ")
    console.send("reset -s\r")
    test.ends()
    console.close()


def run(test):
    """In one piece, which runs from the flash that it programs; then the same in two."""
    variables, code = contents("OVMF_VARS_4M.fd"), contents("OVMF_CODE_4M.fd")
    whole, kept = os.path.join(test.scratch.name, "whole"), os.path.join(test.scratch.name, "kept")
    with open(whole, "wb") as flash:
        flash.write(variables + code)
    in_one = ("-drive", f"if=pflash,format=raw,file={whole}")
    shell(test, in_one, (f"setvar {VARIABLE} -bs -nv =c0ffee", r"c0ffee"))
    shell(test, in_one, (f"setvar {VARIABLE}", r"C0 FF EE"))
    with open(whole, "rb") as flash:
        after = flash.read()
    if after[len(variables):] != code:
        raise Failure("the firmware's code is not what it was")
    with open(kept, "wb") as flash:
        flash.write(after[:len(variables)])
    shell(test, ("-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd", "-drive",
                 f"if=pflash,unit=1,format=raw,file={kept}"), (f"setvar {VARIABLE}", r"C0 FF EE"))
