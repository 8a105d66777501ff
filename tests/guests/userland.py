"""Debian's own programs in the guest: what they compute must be what the same files compute on the host.

The file system is scripts/make-userland's. On the host its programs run through its own dynamic loader, so that both sides
use the same libraries, which choose their code by CPUID on either side.
"""

import os
import re
import shlex
import subprocess

from console import Failure, Shell

PYTHON_TESTS = "test_math test_float test_struct test_json"
DIGESTS = "md5 sha1 sha224 sha256 sha384 sha512 sha512-256 sha3-256 sha3-512 shake128 blake2b512 blake2s256 sm3"
CIPHERS = ("aes-128-cbc aes-192-cbc aes-256-cbc aes-128-ctr aes-256-ctr aes-128-ecb aes-128-ofb aes-128-cfb chacha20 "
           "camellia-256-cbc aria-128-ctr sm4-ctr")
# glibc and OpenSSL without what they would choose: each row is an environment that takes some away.
GLIBC = ["", "-AVX512F,-AVX512VL,-AVX512BW", "-AVX512F,-AVX512VL,-AVX512BW,-AVX2",
         "-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-ERMS,-FSRM,-SSE4_2,-SSE4_1,-SSSE3"]
OPENSSL = ["", "~0:~0x20", "~0x1000000000000000:0", "~0x200000200000000:~0x20", "0:0"]
SAMPLE = "/usr/lib/python3.11/typing.py"


class Both:
    """Runs a shell script in the guest's tree and in the host's copy of it, and compares what they print."""

    def __init__(self, test, shell):
        self.tree = test.guest("userland-amd64")
        self.shell = shell

    def on_host(self, script):
        # Each program by the tree's own loader; paths of the tree where the guest has /.
        loader = f"{self.tree}/lib64/ld-linux-x86-64.so.2"
        libraries = f"{self.tree}/usr/lib/x86_64-linux-gnu"
        functions = "\n".join(
            f'{name}() {{ {loader} --library-path {libraries} {self.tree}/usr/bin/{program} "$@"; }}'
            for name, program in (("strings_check", "strings-check"), ("openssl", "openssl"), ("perl", "perl"),
                                  ("sqlite3", "sqlite3")))
        modules = f"{self.tree}/usr/lib/ossl-modules"
        environment = dict(os.environ, OPENSSL_MODULES=modules, ROOT=self.tree, LC_ALL="C", OPENSSL_CONF="/dev/null",
                           PERL5LIB=f"{self.tree}/usr/lib/x86_64-linux-gnu/perl-base")
        return subprocess.run(["bash", "-c", functions + "\n" + script], env=environment, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.decode()

    def same(self, what, script):
        wanted = self.on_host(script)
        inside = ("strings_check() { strings-check; }\n" + script)
        got, _ = self.shell.run("chroot /mnt /usr/bin/env ROOT= LC_ALL=C OPENSSL_CONF=/dev/null sh -c "
                                + shlex.quote(inside))
        clean = [re.sub(r"\s+", " ", line).strip() for line in got.splitlines() if line.strip()]
        expected = [re.sub(r"\s+", " ", line).strip() for line in wanted.splitlines() if line.strip()]
        if clean != expected:
            pairs = [(w, g) for w, g in zip(expected, clean) if w != g][:10]
            raise Failure(f"{what}: {len(expected)} lines on the host, {len(clean)} in the guest; the first that differ "
                          "(host, guest):\n" + "\n".join(f"  {w}\n  {g}" for w, g in pairs))
        self.shell.console.say(f"ok: {what}: the same {len(expected)} lines as on the host")


def succeeds(shell, what, command, pattern=None):
    output, status = shell.run(f"chroot /mnt /usr/bin/env LC_ALL=C HOME=/tmp TMPDIR=/tmp sh -c {shlex.quote(command)}",
                               timeout=1200)
    if status != 0 or pattern and not re.search(pattern, output, re.MULTILINE):
        raise Failure(f"{what} ended with status {status}:\n{output[-3000:]}")
    shell.console.say(f"ok: {what}")


def run(test):
    initrd = os.path.join(test.scratch.name, "initrd")
    with open(initrd, "wb") as joined:
        for part in ("initrd-amd64.cpio", "modules-amd64.cpio"):
            with open(test.guest(part), "rb") as source:
                joined.write(source.read())
    console = test.start("-kernel", test.guest("vmlinuz-amd64"), "-initrd", initrd, "-append",
                         "console=ttyS0 quiet dragoman.load=ata_piix,sd_mod,ext4",
                         "-drive", f"file={test.guest('userland-amd64.img')},format=raw,if=ide,readonly=on", memory="512")
    console.expect(r"DRAGOMAN-INIT ([\d.]+)\n")
    shell = Shell(console)
    shell.check("for i in $(seq 60); do [ -b /dev/sda ] && break; sleep 1; done; mount -o ro /dev/sda /mnt && echo mounted",
                "^mounted$")
    shell.check("mount -t proc proc /mnt/proc && mount -t devtmpfs devtmpfs /mnt/dev && mount -t tmpfs tmpfs /mnt/tmp && "
                "echo ready", "^ready$")
    both = Both(test, shell)
    for tunables in GLIBC:
        both.same(f"glibc's string functions {tunables or 'as chosen'}",
                  f"export GLIBC_TUNABLES=glibc.cpu.hwcaps={tunables}; strings_check")
    for mask in OPENSSL:
        chosen = f"export OPENSSL_ia32cap={mask}; " if mask else ""
        both.same(f"OpenSSL's digests {mask}", chosen + f"for d in {DIGESTS}; do openssl dgst -$d < $ROOT{SAMPLE}; done")
        both.same(f"OpenSSL's ciphers {mask}", chosen + f"for c in {CIPHERS}; do openssl enc -$c -in $ROOT{SAMPLE} "
                  "-K 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f -iv 0f0e0d0c0b0a09080706050403020100 "
                  "2>/dev/null | openssl dgst -sha256; done")
    succeeds(shell, "RSA and elliptic curves: keys made, signatures verified",
             "cd /tmp && for kind in 'RSA -pkeyopt rsa_keygen_bits:2048' 'EC -pkeyopt ec_paramgen_curve:P-256' ED25519; do "
             f"openssl genpkey -algorithm $kind -out key 2>/dev/null && openssl pkey -in key -pubout -out pub && "
             f"openssl dgst -sha256 {SAMPLE} > message && "
             "openssl pkeyutl -sign -rawin -inkey key -in message -out signature && "
             "openssl pkeyutl -verify -rawin -pubin -inkey pub -in message -sigfile signature || exit 1; done")
    succeeds(shell, "openssl speed", "openssl speed -seconds 1 -bytes 1024 -evp aes-128-gcm 2>&1 && "
             "openssl speed -seconds 1 -bytes 1024 sha256 2>&1", "sha256")
    both.same("SQLite", "sqlite3 :memory: \"with recursive n(i, x) as (select 1, 0.5 union all select i + 1, x * 1.0001 + i % 7 "
              "from n where i < 20000) select count(*), sum(i * i % 977), printf('%.10g', sum(x)), max(hex(i)) from n\"")
    both.same("Perl", "perl -e 'my %h; my $x = 12345; for (1 .. 20000) { $x = ($x * 1103515245 + 12345) % 2147483648; "
              "$h{$x % 1000} .= chr(65 + $x % 26) } print join(\",\", map { length $h{$_} } sort keys %h), \"\\n\"; "
              "printf \"%.12g\\n\", exp(log(2) * 10.5) ** 1.25 + sin(1) * atan2(1, 3)'")
    succeeds(shell, "7-Zip packs and tests", "cd /tmp && 7z a -mmt1 -bd x.7z /usr/lib/python3.11/*.py && 7z t x.7z && "
             "rm x.7z", "Everything is Ok")
    succeeds(shell, "7z b", "7z b 1 -mmt1 -md18", r"^Tot:")
    succeeds(shell, f"python3 -m test {PYTHON_TESTS}", f"cd /tmp && python3 -m test {PYTHON_TESTS} 2>&1",
             r"^Tests? result: SUCCESS|== Tests result: SUCCESS")
    console.send("poweroff -f\n")
    test.ends()
