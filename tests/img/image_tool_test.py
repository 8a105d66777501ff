"""dragoman-img against qemu-img: each reads, checks and compares what the other one wrote."""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

TOOL = None
QEMU = shutil.which("qemu-img")
needs_qemu = unittest.skipUnless(QEMU, "qemu-img (package qemu-utils) is not here")


class ImageTool(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.seed = random.randrange(1 << 32)
        self.random = random.Random(self.seed)

    def run_tool(self, program, words, status=0):
        result = subprocess.run([program, *words], cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True,
                                text=True, timeout=120, check=False)
        self.assertEqual(result.returncode, status, f"seed {self.seed}: {words}: {result}")
        return result

    def img(self, *words, status=0):
        return self.run_tool(TOOL, words, status).stdout

    def qemu(self, *words, status=0):
        return self.run_tool(QEMU, words, status).stdout

    def raw(self, name, kib):
        data = bytearray(kib * 1024)
        for _ in range(kib // 8):
            at = self.random.randrange(len(data))
            piece = self.random.choice([self.random.randbytes(5000), b"text " * 1000])
            data[at:at + len(piece)] = piece[:len(data) - at]
        with open(os.path.join(self.directory, name), "wb") as f:
            f.write(data)

    def poke(self, name, at, data):
        with open(os.path.join(self.directory, name), "r+b") as f:
            f.seek(at)
            f.write(data)

    @needs_qemu
    def test_convert_both_ways(self):
        self.raw("raw", 1500)
        for number, how in enumerate(([], ["-c"], ["-o", "compat=0.10"], ["-o", "cluster_size=4k,refcount_bits=64"],
                                      ["-c", "-o", "compression_type=zstd,cluster_size=2M"],
                                      ["-o", "lazy_refcounts=on,cluster_size=512"])):
            ours, theirs = f"a{number}", f"b{number}"
            self.img("convert", "-O", "qcow2", *how, "raw", ours)
            self.qemu("check", ours)
            self.assertIn("identical", self.qemu("compare", "-f", "raw", "raw", ours))
            self.qemu("convert", "-f", "raw", "-O", "qcow2", *how, "raw", theirs)
            self.assertEqual(self.img("check", theirs), self.qemu("check", theirs), how)
            self.assertIn("identical", self.img("compare", "raw", theirs))
            self.img("convert", "-O", "raw", theirs, "back")
            self.assertIn("identical", self.qemu("compare", "-f", "raw", "-F", "raw", "raw", "back"))

    @needs_qemu
    def test_create_and_info_say_the_same(self):
        for size, options in (("1G", ()), ("64M", ("-o", "compat=0.10,cluster_size=4096")), ("10T", ()),
                              ("1536K", ("-o", "refcount_bits=8,compression_type=zstd"))):
            arguments = ("create", "-f", "qcow2", *options, "x", size)
            said = self.img(*arguments)
            text, as_json = self.img("info", "x"), json.loads(self.img("info", "--output=json", "x"))
            self.qemu("check", "x")
            self.assertEqual(said, self.qemu(*arguments))
            theirs = json.loads(self.qemu("info", "--output=json", "x"))
            lines = [line for line in self.qemu("info", "x").splitlines() if not line.startswith("disk size")]
            self.assertEqual([line for line in text.splitlines() if not line.startswith("disk size")], lines)
            as_json.pop("actual-size"), theirs.pop("actual-size")
            self.assertEqual(as_json, theirs)

    def test_preallocation(self):
        self.raw("raw", 1024)
        for format, kind in (("raw", "falloc"), ("raw", "full"), ("qcow2", "metadata"), ("qcow2", "falloc"), ("qcow2", "full")):
            with self.subTest(format=format, kind=kind):
                self.img("create", "-f", format, "-o", f"preallocation={kind},size=1M", "new")
                about = json.loads(self.img("info", "--output", "json", "new"))
                self.assertEqual(about["virtual-size"], 1 << 20)
                if kind != "metadata":
                    self.assertGreaterEqual(about["actual-size"], 1 << 20)
                self.img("compare", "-s", "new", "new")
                self.img("create", "-f", "raw", "zeroes", "1M")
                self.assertIn("identical", self.img("compare", "-f", format, "-F", "raw", "new", "zeroes"))
                if format == "qcow2":
                    checked = json.loads(self.img("check", "--output=json", "new"))
                    self.assertEqual(checked["allocated-clusters"], 16)
                    if QEMU:
                        self.qemu("check", "new")
        self.img("create", "-f", "qcow2", "-o", "preallocation=full", "-b", "new", "-F", "qcow2", "top", status=1)
        self.img("create", "-f", "raw", "-o", "preallocation=metadata", "x", "1M", status=1)
        self.img("convert", "-O", "qcow2", "-o", "preallocation=metadata", "raw", "copy")
        self.assertIn("identical", self.img("compare", "raw", "copy"))
        self.assertIn("dragoman-img version", self.img("--version"))

    @needs_qemu
    def test_backing_files_and_commit(self):
        self.raw("base", 900)
        self.img("create", "-f", "qcow2", "-b", "base", "-F", "raw", "top")
        self.assertIn("identical", self.qemu("compare", "-f", "raw", "-F", "qcow2", "base", "top"))
        self.assertEqual(self.qemu("info", "top").replace("\n", "|"), self.img("info", "top").replace("\n", "|"))
        if shutil.which("qemu-io"):
            subprocess.run(["qemu-io", "-c", "write -P 7 100k 70k", "-c", "write -z 300k 128k", "top"], check=True,
                           cwd=self.directory, capture_output=True)
        self.img("convert", "-O", "raw", "top", "flat")
        self.assertEqual(self.img("commit", "top"), "Image committed.\n")
        self.qemu("check", "top")
        self.assertIn("identical", self.qemu("compare", "-f", "raw", "-F", "raw", "base", "flat"))
        self.assertIn("identical", self.qemu("compare", "-f", "raw", "-F", "qcow2", "base", "top"))

    @needs_qemu
    def test_resize(self):
        self.raw("raw", 1000)
        for how in ([], ["-o", "compat=0.10"]):
            self.img("convert", "-O", "qcow2", *how, "raw", "q")
            self.assertEqual(self.img("resize", "q", "+100M"), "Image resized.\n")
            self.qemu("check", "q")
            self.assertEqual(json.loads(self.qemu("info", "--output=json", "q"))["virtual-size"], 1000 * 1024 + (100 << 20))
            self.assertIn("identical", self.qemu("compare", "-f", "raw", "raw", "q"))
            self.img("resize", "q", "500K", status=1)
            self.img("resize", "--shrink", "q", "500K")
            self.qemu("check", "q")
            self.img("resize", "q", "+10K")
            with open(os.path.join(self.directory, "raw"), "rb") as f:
                start = f.read(500 * 1024)
            with open(os.path.join(self.directory, "want"), "wb") as f:
                f.write(start + bytes(10240))
            self.assertIn("identical", self.qemu("compare", "-f", "raw", "want", "q"))

    @needs_qemu
    def test_snapshots_both_ways(self):
        self.raw("raw", 700)
        for first, second in ((self.img, self.qemu), (self.qemu, self.img)):
            first("convert", "-f", "raw", "-O", "qcow2", "raw", "q")
            first("snapshot", "-c", "one", "q")
            second("snapshot", "-c", "two words", "q")
            self.qemu("check", "q"), self.img("check", "q")
            self.assertEqual([line.split()[:3] for line in self.img("snapshot", "-l", "q").splitlines()],
                             [line.split()[:3] for line in self.qemu("snapshot", "-l", "q").splitlines()])
            if shutil.which("qemu-io"):
                subprocess.run(["qemu-io", "-c", "write -P 7 0 300k", "q"], check=True, cwd=self.directory,
                               capture_output=True)
            second("snapshot", "-a", "one", "q")
            self.assertIn("identical", self.qemu("compare", "-f", "raw", "raw", "q"))
            second("snapshot", "-d", "one", "q")
            first("snapshot", "-d", "two words", "q")
            self.assertIn("No errors", self.qemu("check", "q"))
            self.assertIn("identical", self.img("compare", "raw", "q"))

    def test_check_tells_and_repairs(self):
        self.raw("raw", 400)
        self.img("convert", "-O", "qcow2", "raw", "q")
        self.poke("q", 2 * 65536 + 2 * 200, b"\0\1")
        self.assertIn("Leaked cluster 200 refcount=1 reference=0", self.img("check", "q", status=3))
        self.poke("q", 2 * 65536 + 2 * 5, b"\0\0")
        self.assertIn("ERROR cluster 5 refcount=0 reference=1", self.img("check", "q", status=2))
        self.img("check", "-r", "all", "q")
        self.assertIn("No errors", self.img("check", "q"))
        self.img("check", "raw", status=63)
        self.assertIn("identical", self.img("compare", "raw", "q"))
        self.poke("raw", 1000, b"\1\2\3\4")
        self.poke("q", 3 * 65536 + 7, b"x")
        self.img("compare", "raw", "q", status=1)

    def test_mistakes_are_one_line(self):
        self.raw("raw", 100)
        for words in ((), ("nosuch",), ("create",), ("create", "-f", "vmdk", "x", "1G"), ("create", "x", "many"),
                      ("create", "-f", "qcow2", "-o", "nosuch=1", "x", "1M"), ("create", "-f", "qcow2", "x"),
                      ("create", "-f", "qcow2", "-b", "raw", "x"), ("info", "nosuch"), ("info", "-Z", "raw"),
                      ("convert", "-O", "vmdk", "raw", "x"), ("convert", "nosuch", "x"), ("resize", "raw"),
                      ("commit", "raw"), ("snapshot", "-c", "x", "raw"), ("check", "nosuch"),
                      ("convert", "-f", "qcow2", "raw", "x")):
            result = self.run_tool(TOOL, words, 1)
            self.assertEqual(result.stdout, "")
            if words:
                self.assertEqual(result.stderr.count("\n"), 1, words)
                self.assertTrue(result.stderr.startswith("dragoman-img: "), words)

    def test_progress(self):
        self.raw("raw", 100)
        self.assertTrue(self.img("convert", "-p", "-O", "qcow2", "raw", "q").count("(100.00/100%)"))


def main():
    global TOOL
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", required=True)
    arguments, rest = parser.parse_known_args()
    TOOL = os.path.abspath(arguments.tool)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
