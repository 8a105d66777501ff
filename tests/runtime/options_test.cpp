#include "runtime/options.h"

#include "base/log.h"

#include <cstdio>
#include <fstream>
#include <gtest/gtest.h>

namespace dragoman::runtime {
namespace {

Result<Options> parse(std::vector<const char*> words) {
    words.insert(words.begin(), "dragoman");
    return parse_options(int(words.size()), words.data());
}

Options good(const std::vector<const char*>& words) {
    auto options = parse(words);
    EXPECT_TRUE(options) << words[0] << ": " << (options ? "" : options.error().message);
    return options ? *options : Options{};
}

TEST(Options, Defaults) {
    const Options o = good({"-display", "none"});
    EXPECT_EQ(o.memory_bytes, 128 * MiB);
    EXPECT_EQ(o.cpu, "max");
    EXPECT_FALSE(o.vcpu.interpret || o.vcpu.verify || o.start_stopped || o.no_reboot || o.no_shutdown);
    EXPECT_TRUE(o.serial.empty() && o.gdb.empty() && o.drives.empty());
    EXPECT_EQ(o.action, Options::Action::Run);
}

TEST(Options, Memory) {
    const std::pair<const char*, u64> rows[] = {{"4", 4 * MiB},   {"512", 512 * MiB},    {"512M", 512 * MiB},
                                                {"2G", 2 * GiB},  {"2g", 2 * GiB},       {"65536K", 64 * MiB},
                                                {"size=1G", GiB}, {"4098K", 4100 * KiB}, {"512G", 512 * GiB}};
    for (const auto& [text, bytes] : rows)
        EXPECT_EQ(good({"-m", text}).memory_bytes, bytes) << text;
}

TEST(Options, Drives) {
    const Options o = good({"-hda", "a.img", "-drive", "file=b,,c.img,format=raw,index=1,readonly=on",
                            "-cdrom", "d.iso", "-drive", "if=ide,bus=1,unit=1,media=cdrom"});
    ASSERT_EQ(o.drives.size(), 4u);
    EXPECT_EQ(o.drives[0].file, "a.img");
    EXPECT_EQ(o.drives[0].index, 0u);
    EXPECT_EQ(o.drives[0].given, "-hda a.img");
    EXPECT_EQ(o.drives[1].file, "b,c.img") << "two commas stand for one";
    EXPECT_TRUE(o.drives[1].read_only);
    EXPECT_EQ(o.drives[2].index, 2u);
    EXPECT_TRUE(o.drives[2].cd && o.drives[2].read_only);
    EXPECT_TRUE(o.drives[3].file.empty() && o.drives[3].cd);
    EXPECT_EQ(o.drives[3].index, 3u);
    EXPECT_EQ(good({"disk.img"}).drives.at(0).file, "disk.img") << "an image without option";
    EXPECT_EQ(good({"-drive", "file=x", "-drive", "file=y"}).disks.at(1).place, 1u) << "the next free place";
}

TEST(Options, DrivesAndDevices) {
    using Model = DiskDevice::Model;
    Options o = good({"-drive",
                      "if=none,id=d0,file=a.qcow2,format=qcow2,snapshot=on,cache=writethrough,discard=unmap,"
                      "werror=enospc,rerror=ignore,detect-zeroes=on,aio=io_uring",
                      "-device", "ide-hd,drive=d0,bus=ide.1,unit=1,serial=S1", "-drive", "file=b.img"});
    ASSERT_EQ(o.disks.size(), 2u);
    EXPECT_EQ(o.disks[0].drive, 0u);
    EXPECT_EQ(o.disks[0].place, 3u);
    EXPECT_EQ(o.disks[0].serial, "S1");
    EXPECT_EQ(o.disks[1].place, 0u);
    const DriveOption& d = o.drives[0];
    EXPECT_EQ(d.format, "qcow2");
    EXPECT_TRUE(d.snapshot && d.write_through && d.discard && d.detect_zeroes && !d.ignore_flush);
    EXPECT_EQ(d.on_write_error, DriveOption::OnError::NoSpace);
    EXPECT_EQ(d.on_read_error, DriveOption::OnError::Ignore);
    EXPECT_TRUE(good({"-snapshot", "-hda", "a"}).drives[0].snapshot);
    EXPECT_TRUE(good({"-hda", "a", "-drive", "file=b,cache=unsafe", "-snapshot"}).drives[1].ignore_flush);

    o = good({"-device", "ahci,id=a,addr=7", "-device", "ich9-ahci", "-drive", "file=x,if=none,id=x",
              "-device", "ide-hd,drive=x,bus=a.3", "-device", "ide-cd,bus=ahci1.0", "-drive",
              "file=y,if=none,id=y", "-device", "nvme,drive=y,serial=N"});
    EXPECT_EQ(o.ahci.at(0).slot, 7u);
    EXPECT_EQ(o.ahci.at(1).id, "ahci1");
    EXPECT_EQ(o.disks.at(0).controller, "a");
    EXPECT_EQ(o.disks[0].place, 3u);
    EXPECT_EQ(o.disks.at(1).controller, "ahci1");
    EXPECT_EQ(o.disks.at(2).model, Model::Nvme);

    o = good({"-blockdev", "driver=file,filename=c.img,node-name=f", "-blockdev",
              "driver=qcow2,file=f,node-name=n,discard=unmap", "-device", "ide-hd,drive=n"});
    ASSERT_EQ(o.drives.size(), 1u);
    EXPECT_EQ(o.drives[0].file, "c.img");
    EXPECT_EQ(o.drives[0].format, "qcow2");
    EXPECT_EQ(o.disks[0].drive, 0u);
    o = good(
        {"-drive", "if=none,id=cd,file=x.iso", "-device", "ide-cd,drive=cd", "-device", "ide-cd,bus=ide.1"});
    EXPECT_TRUE(o.drives[0].read_only);
    EXPECT_EQ(o.disks[0].model, Model::IdeCd);
    EXPECT_EQ(o.disks[1].place, 2u);
}

// What public projects type to start QEMU starts here as well.
TEST(Options, CommandLinesOfOthers) {
    const std::vector<std::vector<const char*>> lines = {
        {"-nodefaults", "-machine", "q35,accel=kvm:tcg,usb=off,vmport=off", "-cpu", "max", "-m",
         "size=1G,slots=2,maxmem=4G", "-smp", "4,sockets=1,cores=4,threads=1", "-display", "none", "-serial",
         "stdio", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"},
        {"-M",
         "pc-i440fx-7.2",
         "-enable-kvm",
         "-m",
         "1G",
         "-boot",
         "order=dc,menu=off,strict=on",
         "-cdrom",
         "x.iso",
         "-drive",
         "file=x.qcow2,if=virtio,format=qcow2,cache=none,aio=native,discard=unmap",
         "-vga",
         "std",
         "-usb",
         "-usbdevice",
         "tablet",
         "-rtc",
         "base=utc,clock=host",
         "-k",
         "en-us",
         "-name",
         "guest=x,debug-threads=on"},
        {"-no-user-config",
         "-nodefaults",
         "-uuid",
         "12345678-1234-1234-1234-123456789abc",
         "-overcommit",
         "mem-lock=off",
         "-msg",
         "timestamp=on",
         "-sandbox",
         "on,obsolete=deny",
         "-object",
         "rng-random,id=r,filename=/dev/urandom",
         "-object",
         "{\"qom-type\":\"memory-backend-ram\",\"id\":\"m\",\"size\":1073741824}",
         "-blockdev",
         "{\"driver\":\"file\",\"filename\":\"/d.qcow2\",\"node-name\":\"s\",\"auto-read-only\":true}",
         "-blockdev",
         "{\"node-name\":\"f\",\"read-only\":false,\"driver\":\"qcow2\",\"file\":\"s\",\"backing\":null}",
         "-device",
         "{\"driver\":\"virtio-blk-pci\",\"bus\":\"pci.0\",\"addr\":\"0x4\",\"drive\":\"f\",\"id\":\"v\","
         "\"bootindex\":1}",
         "-chardev",
         "socket,id=c,path=/tmp/x,server=on,wait=off",
         "-mon",
         "chardev=c,id=monitor,mode=readline",
         "-chardev",
         "pty,id=charserial0",
         "-device",
         "isa-serial,chardev=charserial0,id=serial0",
         "-audiodev",
         "driver=none,id=audio1",
         "-global",
         "kvm-pit.lost_tick_policy=delay",
         "-no-hpet",
         "-no-shutdown",
         "-action",
         "reboot=shutdown"},
        {"--kernel", "k", "--append", "console=ttyS0 -v", "--nographic", "--monitor", "none", "--accel",
         "tcg,thread=multi", "-parallel", "none", "-vnc", "none", "-smbios", "type=1,serial=x",
         "-watchdog-action", "reset", "-L", "/usr/share/x"},
        {"-drive", "id=d,if=none,file=x.img,format=raw,file.locking=off,cache.direct=on,l2-cache-size=4M",
         "-device", "ide-hd,drive=d,bootindex=0", "-snapshot", "-chardev", "stdio,mux=on,id=m", "-serial",
         "chardev:m", "-mon", "chardev=m", "-daemonize", "-pidfile", "p", "-S", "-gdb", "tcp::1234"},
    };
    for (const auto& line : lines)
        (void)good(line);
    EXPECT_EQ(good(lines[0]).warnings.size(), 3u) << "q35, kvm, smp";
    EXPECT_FALSE(good(lines[0]).vga) << "-nodefaults";
    const Options libvirt = good(lines[2]);
    EXPECT_EQ(libvirt.drives.at(0).file, "/d.qcow2");
    EXPECT_EQ(libvirt.disks.at(0).model, DiskDevice::Model::VirtioBlk);
    EXPECT_EQ(libvirt.disks.at(0).slot, 4u);
    EXPECT_EQ(chardev_spec(libvirt, libvirt.serial.at(0)), "pty");
    EXPECT_EQ(chardev_spec(libvirt, libvirt.monitor), "unix:/tmp/x,server,nowait");
    EXPECT_TRUE(libvirt.no_reboot && libvirt.no_shutdown);
    EXPECT_EQ(good(lines[3]).append, "console=ttyS0 -v");
    const Options shared = good(lines[4]);
    EXPECT_EQ(chardev_spec(shared, shared.serial.at(0)), "mon:stdio");
    EXPECT_EQ(chardev_spec(shared, shared.monitor), "mon:stdio");
    EXPECT_FALSE(parse({"-chardev", "null,id=a", "-serial", "chardev:a", "-monitor", "chardev:a"}));
    EXPECT_FALSE(parse({"-serial", "chardev:nosuch"}));
    EXPECT_EQ(good({"-chardev", "stdio,id=c,logfile=l,logappend=on"}).chardev_logs.at("c"), "append:l");
    const Options pipe = good({"-chardev", "pipe,id=con,mux=on,path=/p", "-serial", "chardev:con", "-mon",
                               "chardev=con,mode=readline"});
    EXPECT_EQ(chardev_spec(pipe, pipe.serial.at(0)), "mon:pipe:/p");
    EXPECT_EQ(good({"-serial", "mon:telnet::1,server,nowait"}).serial.at(0), "mon:telnet::1,server,nowait");
    EXPECT_FALSE(parse({"-serial", "mon:pty", "-serial", "mon:stdio"})) << "one monitor";
    EXPECT_FALSE(parse({"-chardev", "null,mux=on,id=a", "-serial", "chardev:a", "-serial", "chardev:a"}));
    EXPECT_FALSE(parse({"-serial", "mon:nosuch"}));
}

TEST(Options, Processors) {
    const auto cpu = [](const char* text) { return good({"-cpu", text}).cpu; };
    EXPECT_EQ(cpu("max"), "max");
    EXPECT_EQ(cpu("host,migratable=on,kvm=off,hv-time=on,hv_relaxed,host-phys-bits,l3-cache=on"), "host");
    EXPECT_EQ(cpu("kvm64,+kvm_pv_eoi,+kvm_pv_unhalt,vendor=GenuineIntel"), "kvm64,vendor=GenuineIntel");
    EXPECT_EQ(cpu("Haswell,-rdrand,family=6"), "Haswell,-rdrand,family=6");
    EXPECT_EQ(cpu("qemu64,-vmx,svm=off"), "qemu64,-vmx,svm=off");
    EXPECT_EQ(cpu("pentium3,+sse3,+pae,+sse2"), "pentium3,+pae,+sse2,+sse3") << "a need comes first";
    const Options without = good({"-cpu", "qemu64,+vmx,+popcnt,+sgx1"});
    EXPECT_EQ(without.cpu, "qemu64,+popcnt");
    EXPECT_EQ(without.warnings.size(), 2u);
    const Options amd =
        good({"-cpu", "EPYC-Rome-v2,x2apic=on,+topoext,svme-addr-chk=on,rdctl-no=on,mds-no=on,-svm"});
    EXPECT_EQ(amd.cpu, "EPYC-Rome-v2,x2apic=on,-svm");
    EXPECT_EQ(amd.warnings.size(), 2u);
    EXPECT_EQ(good({"-cpu", "qemu64,+vmx,enforce"}).cpu, "qemu64,+vmx") << "refused when it is made";
    EXPECT_EQ(cpu("qemu64,+nosuch"), "qemu64,+nosuch");
}

// What others have, and this machine takes note of, ignores or names the nearest to.
TEST(Options, ForeignOptions) {
    EXPECT_TRUE(good({"-show-cursor", "-no-quit", "-nodefconfig", "-trace", "x", "-S"}).start_stopped);
    EXPECT_EQ(good({"-icount", "shift=auto"}).warnings.size(), 1u);
    for (const auto& [words, nearest] :
         std::initializer_list<std::pair<std::vector<const char*>, const char*>>{
             {{"-spice", "port=1"}, "-vnc"}, {{"-sd", "x"}, "-drive"}, {{"-redir", "tcp:1::2"}, "hostfwd"}}) {
        const auto refused = parse(words);
        ASSERT_FALSE(refused);
        EXPECT_NE(refused.error().message.find("not built, the nearest is"), std::string::npos);
        EXPECT_NE(refused.error().message.find(nearest), std::string::npos) << refused.error().message;
    }
    for (const char* list : {"-machine", "-accel", "-d", "-passes", "-display", "-vga", "-netdev"})
        EXPECT_NE(good({list, "help"}).help, "") << list;
}

TEST(Options, Board) {
    EXPECT_TRUE(good({}).hpet && good({}).acpi);
    EXPECT_FALSE(good({"-no-hpet"}).hpet);
    EXPECT_FALSE(good({"-machine", "pc,hpet=off"}).hpet);
    EXPECT_FALSE(good({"-no-acpi"}).acpi);
    EXPECT_FALSE(good({"-machine", "acpi=off"}).acpi);
    const Options boot = good({"-boot", "menu=on,splash-time=0,reboot-timeout=5000"});
    EXPECT_EQ(boot.splash_ms, 0u);
    EXPECT_EQ(boot.reboot_ms, 5000u);
    EXPECT_FALSE(good({"-boot", "reboot-timeout=-1"}).reboot_ms);
    EXPECT_EQ(good({"-m", "1.5G"}).memory_bytes, 1536 * MiB);
    EXPECT_FALSE(parse({"-m", "1.x"}));
    EXPECT_EQ(good({"-echr", "0x14"}).escape_character, 0x14);
    EXPECT_EQ(good({"-numa", "node,nodeid=0"}).numa_nodes, 1u);
    EXPECT_FALSE(parse({"-numa", "node", "-numa", "node"}));
    EXPECT_EQ(good({"-gdb", "unix:/tmp/g"}).gdb, "unix:/tmp/g");
    EXPECT_EQ(good({"-s", "-gdb", "none"}).gdb, "");
    EXPECT_EQ(good({"-watchdog", "i6300esb"}).cards.size(), 1u);
    EXPECT_FALSE(parse({"-watchdog", "ib700"}));
    EXPECT_EQ(good({"-chardev", "null,id=c", "-device", "isa-parallel,chardev=c"}).parallel, "chardev:c");
}

TEST(Options, Flashes) {
    using Interface = DriveOption::Interface;
    const Options o = good({"-drive", "if=pflash,unit=1,format=raw,file=vars", "-drive",
                            "if=pflash,format=raw,readonly=on,file=code,unit=0"});
    EXPECT_EQ(o.drives.at(0).interface, Interface::Flash);
    EXPECT_EQ(o.drives.at(0).index, 1u);
    EXPECT_TRUE(o.disks.empty());
    EXPECT_EQ(good({"-pflash", "code"}).drives.at(0).interface, Interface::Flash);
    EXPECT_FALSE(parse({"-drive", "if=pflash,format=qcow2,file=x"}));
    EXPECT_FALSE(parse({"-machine", "pflash0=nosuch"}));
    EXPECT_EQ(good({"-machine", "pflash0=c", "-blockdev", "driver=file,node-name=c,filename=x,read-only=on"})
                  .drives.at(0)
                  .interface,
              Interface::Flash);
}

TEST(Options, SmbiosNumbersAndFiles) {
    const std::string file = ::testing::TempDir() + "dragoman-smbios.txt";
    std::ofstream(file) << "io.systemd.credential:x=y";
    const Options o =
        good({"-smbios", ("type=11,value=a,path=" + file).c_str(), "-smbios", "type=4,max-speed=2000"});
    EXPECT_EQ(o.smbios.oem, (std::vector<std::string>{"a", "io.systemd.credential:x=y"}));
    EXPECT_EQ(o.smbios.texts.at({4, "max-speed"}), "2000");
    std::remove(file.c_str());
    EXPECT_FALSE(parse({"-smbios", ("type=11,path=" + file).c_str()}));
    EXPECT_FALSE(parse({"-smbios", "type=17,speed=fast"}));
    EXPECT_FALSE(parse({"-smbios", "type=4,max-speed=65536"}));
}

TEST(Options, NvmeNamespace) {
    const Options o = good({"-device", "nvme,id=n0,serial=1", "-drive", "file=x,if=none,id=d", "-device",
                            "nvme-ns,drive=d,nsid=1,bus=n0"});
    ASSERT_EQ(o.disks.size(), 1u);
    EXPECT_EQ(o.disks[0].drive, 0u);
    const std::vector<std::vector<const char*>> bad = {
        {"-device", "nvme,serial=1"},
        {"-drive", "file=x,if=none,id=d", "-device", "nvme-ns,drive=d"},
        {"-drive", "file=x,if=none,id=d", "-device", "nvme,serial=1,drive=d", "-device", "nvme-ns,drive=d"}};
    for (const auto& line : bad)
        EXPECT_FALSE(parse(line));
}

TEST(Options, ReadConfig) {
    const std::string file = ::testing::TempDir() + "dragoman-options.cfg";
    std::ofstream(file)
        << "# comment\n[drive \"d0\"]\n  file = \"a,b.img\"\n  if = \"none\"\n\n"
           "[device \"x\"]\n  driver = \"ide-hd\"\n  drive = \"d0\"\n[machine]\n  type = \"pc\"\n";
    const Options o = good({"-readconfig", file.c_str()});
    EXPECT_EQ(o.drives.at(0).file, "a,b.img");
    EXPECT_EQ(o.disks.at(0).drive, 0u);
    std::ofstream(file) << "[drive \"d0\"]\nfile=x\n";
    const auto bad = parse({"-readconfig", file.c_str()});
    ASSERT_FALSE(bad);
    EXPECT_NE(bad.error().message.find("line 2: expected KEY"), std::string::npos) << bad.error().message;
    std::remove(file.c_str());
}

TEST(Options, CharacterDevices) {
    EXPECT_EQ(good({"-nographic"}).serial, std::vector<std::string>{"mon:stdio"});
    EXPECT_EQ(good({"-nographic", "-monitor", "unix:/tmp/x,server=on,wait=off"}).serial,
              std::vector<std::string>{"stdio"});
    EXPECT_TRUE(good({"-nographic"}).nographic);
    EXPECT_EQ(good({"-serial", "none", "-nographic"}).serial, std::vector<std::string>{"none"});
    for (const char* device :
         {"stdio", "mon:stdio", "none", "null", "pty", "file:x", "tcp::1234,server,nowait",
          "telnet:localhost:1", "unix:/tmp/x,server=on,wait=off", "pipe:/tmp/x"}) {
        EXPECT_EQ(good({"-serial", device}).serial.at(0), device);
        EXPECT_EQ(good({"-monitor", device, "-serial", "none"}).monitor, device);
        EXPECT_EQ(good({"-debugcon", device, "-serial", "none"}).debugcon, device);
    }
    EXPECT_EQ(good({"-serial", "null", "-serial", "pty"}).serial.size(), 2u);
}

TEST(Options, TheRest) {
    EXPECT_TRUE(good({"-S"}).start_stopped);
    EXPECT_EQ(good({"-s"}).gdb, "tcp::1234");
    EXPECT_EQ(good({"-gdb", "tcp:127.0.0.1:99"}).gdb, "tcp:127.0.0.1:99");
    EXPECT_TRUE(good({"-accel", "interp"}).vcpu.interpret);
    EXPECT_FALSE(good({"-accel", "dbt"}).vcpu.interpret);
    EXPECT_TRUE(good({"-machine", "pc,accel=interp"}).vcpu.interpret);
    EXPECT_TRUE(good({"-verify"}).vcpu.verify);
    EXPECT_TRUE(good({"-no-reboot"}).no_reboot);
    EXPECT_TRUE(good({"-no-shutdown"}).no_shutdown);
    EXPECT_EQ(good({"-boot", "dc"}).boot_order, "dc");
    EXPECT_TRUE(good({"-boot", "order=c,menu=on"}).boot_menu);
    EXPECT_FALSE(good({"-vga", "none"}).vga);
    EXPECT_EQ(good({"-tb-size", "64"}).vcpu.cache_bytes, 64 * MiB);
    EXPECT_EQ(good({"-rtc", "base=2020-01-02T03:04:05"}).rtc_base, 1577934245);
    EXPECT_EQ(good({"-rtc", "base=1970-01-02"}).rtc_base, 86400);
    EXPECT_TRUE(good({"-rtc", "base=localtime"}).rtc_localtime);
    EXPECT_EQ(good({"-d", "int,cpu"}).log_items, u32(LogItem::Int) | u32(LogItem::Cpu));
    EXPECT_EQ(good({"-D", "log"}).log_file, "log");
    const Options exit = good({"-device", "isa-debug-exit,iobase=0xf4,iosize=4"});
    ASSERT_TRUE(exit.debug_exit);
    EXPECT_EQ(exit.debug_exit->iobase, 0xf4);
    EXPECT_EQ(exit.debug_exit->iosize, 4u);
    EXPECT_EQ(good({"-device", "isa-debugcon,iobase=0x402"}).debugcon_port, 0x402);
    EXPECT_EQ(good({"-kernel", "k", "-initrd", "i", "-append", "a b"}).append, "a b");
    EXPECT_EQ(good({"-help"}).action, Options::Action::Help);
    EXPECT_EQ(good({"--help"}).action, Options::Action::Help);
    EXPECT_EQ(good({"-version"}).action, Options::Action::Version);
    EXPECT_EQ(good({"-cpu", "help"}).action, Options::Action::CpuHelp);
    EXPECT_EQ(good({"-device", "help"}).action, Options::Action::DeviceHelp);
    EXPECT_FALSE(good({"-passes", "all=off"}).vcpu.passes.enabled(0));
}

// One line that names the option and its value, and says what was expected.
TEST(Options, Vnc) {
    const auto vnc = [](std::vector<const char*> words) { return parse(words)->vnc; };
    EXPECT_EQ(vnc({"-vnc", ":1"})->tcp->port, "5901");
    EXPECT_EQ(vnc({"-vnc", ":1"})->tcp->host, "") << "this host";
    EXPECT_EQ(vnc({"-vnc", "0.0.0.0:0,share=ignore"})->tcp->host, "0.0.0.0");
    EXPECT_EQ(vnc({"-display", "vnc=[::1]:7"})->tcp->port, "5907");
    EXPECT_EQ(vnc({"-vnc", "unix:/run/x"})->path, "/run/x");
    EXPECT_FALSE(vnc({"-vnc", "none"}));
    EXPECT_TRUE(vnc({"-vnc", ":1,password"})->password);
    EXPECT_FALSE(vnc({"-vnc", ":1,password=off"})->password);
    EXPECT_EQ(vnc({"-vnc", ":1,to=9"})->last_port, 5909u);
    EXPECT_EQ(vnc({"-vnc", ":3,websocket"})->web_port, 5703u);
    EXPECT_EQ(vnc({"-vnc", ":3,websocket=6080"})->web_port, 6080u);
    EXPECT_FALSE(vnc({"-vnc", ":3,websocket=off"})->web_port);
    auto o = parse({"-object", "secret,id=s,data=c2VjcmV0,format=base64", "-vnc", ":1,password-secret=s"});
    ASSERT_TRUE(o) << o.error().message;
    EXPECT_EQ(o->vnc->secret, "s");
    EXPECT_EQ(*read_secret(o->secrets.at("s")), "secret");
    EXPECT_FALSE(read_secret({.file = "/nosuch"}));
    EXPECT_FALSE(read_secret({.data = "*", .base64 = true}));
}

TEST(Options, BadValues) {
    const std::vector<const char*> rows[] = {
        {"-m", "0"},
        {"-m", "3M"},
        {"-m", "513G"},
        {"-m", "99999G"},
        {"-m", "18446744073709551616"},
        {"-m", "x"},
        {"-m", ""},
        {"-m", "-1"},
        {"-accel", "nosuch"},
        {"-machine", "microvm"},
        {"-machine", "pc,accel=nosuch"},
        {"-smp", "nosuch=2"},
        {"-smp", "cpus=0"},
        {"-smp", "x"},
        {"-kernel", ""},
        {"-bios", ""},
        {"-initrd", ""},
        {"-initrd", "x"},
        {"-append", "x"},
        {"-hda", ""},
        {"-cdrom", ""},
        {"-drive", ""},
        {"-drive", "file"},
        {"-drive", "format=raw"},
        {"-drive", "file=a,format=vmdk"},
        {"-drive", "file=a,if=scsi"},
        {"-drive", "file=a,cache=2"},
        {"-drive", "file=a,discard=2"},
        {"-drive", "file=a,werror=2"},
        {"-drive", "file=http://a"},
        {"-blockdev", "driver=raw,file=x,node-name=a"},
        {"-blockdev", "driver=qcow2,node-name=a"},
        {"-blockdev", "driver=file,filename=x"},
        {"-blockdev", "driver=vmdk,node-name=a,filename=x"},
        {"-device", "ide-hd"},
        {"-device", "ide-hd,drive=nosuch"},
        {"-device", "ide-cd,bus=scsi.0"},
        {"-device", "ide-cd,nosuch=1"},
        {"-device", "ahci,nosuch=1"},
        {"-device", "ide-cd,bus=nosuch.0"},
        {"-device", "nvme,serial=1"},
        {"-device", "nvme,drive=d"},
        {"-drive", "file=a,media=floppy"},
        {"-drive", "file=a,index=4"},
        {"-drive", "file=a,index=x"},
        {"-drive", "file=a,bus=2"},
        {"-drive", "file=a,readonly=2"},
        {"-drive", "file=a,nosuch=1"},
        {"-boot", "x"},
        {"-boot", "order=cz"},
        {"-boot", "menu=2"},
        {"-boot", "nosuch=1"},
        {"-serial", ""},
        {"-serial", "file:"},
        {"-serial", "nosuch"},
        {"-monitor", "nosuch"},
        {"-debugcon", "nosuch"},
        {"-display", "curses"},
        {"-vnc", "somewhere"},
        {"-vnc", ":99999"},
        {"-vnc", ":1,nosuch=1"},
        {"-vnc", ":1,password=maybe"},
        {"-vnc", ":5,to=4"},
        {"-vnc", ":5,websocket=0"},
        {"-vnc", "unix:/x,websocket=on"},
        {"-vnc", ":5,tls-creds=x"},
        {"-vnc", ":1,password-secret=s"},
        {"-vnc", ":1,password-secret=s", "-object", "secret,id=s,data=x,keyid=k"},
        {"-vnc", ":1", "-vga", "none"},
        {"-vnc", ":1", "-display", "sdl"},
        {"-object", "secret,data=x"},
        {"-object", "nosuch"},
        {"-uuid", "x"},
        {"-chardev", "udp,id=x"},
        {"-chardev", "stdio"},
        {"-mon", "mode=control"},
        {"-action", "reboot=x"},
        {"-device", "usb-storage"},
        {"-smbios", "type=9"},
        {"-smbios", "type=1,nosuch=x"},
        {"-fw_cfg", "name=opt/x"},
        {"-global", "x"},
        {"-sandbox", "maybe"},
        {"-runas", ""},
        {"-parallel", "nosuch"},
        {"-overcommit", "x=on"},
        {"-object", "rng-egd,id=r"},
        {"-chardev", "ringbuf,id=r,size=3"},
        {"-chardev", "socket,id=r"},
        {"-device", "{bad"},
        {"-blockdev", "{}"},
        {"-vga", "cirrus"},
        {"-device", "nosuch"},
        {"-device", ""},
        {"-device", "isa-debug-exit,iosize=3"},
        {"-device", "isa-debug-exit,iobase=65536"},
        {"-device", "isa-debugcon,iobase=x"},
        {"-rtc", "base=yesterday"},
        {"-rtc", "base=2020-13-01"},
        {"-rtc", "nosuch=1"},
        {"-gdb", "1234"},
        {"-gdb", "udp::1"},
        {"-d", "nosuch"},
        {"-d", ""},
        {"-D", ""},
        {"-tb-size", "0"},
        {"-tb-size", "4096"},
        {"-tb-size", "x"},
        {"-passes", "nosuch=on"},
        {"-passes", "all=2"},
    };
    for (const auto& words : rows) {
        const auto options = parse(words);
        const std::string given = std::string(words[0]) + " " + words[1];
        ASSERT_FALSE(options) << given;
        const std::string& message = options.error().message;
        EXPECT_EQ(message.rfind(given + ": expected ", 0), 0u) << message;
        EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
}

TEST(Options, BadCommandLines) {
    const std::pair<std::vector<const char*>, const char*> rows[] = {
        {{"-nosuch"}, "-nosuch: unknown option"},
        {{"--nosuch"}, "-nosuch: unknown option"},
        {{"-S", "-nosuch", "x"}, "-nosuch: unknown option"},
        {{"-m"}, "-m: a value is missing"},
        {{"-hda"}, "-hda: a value is missing"},
        {{"-S=1"}, "-S=1: unknown option"},
        {{"-hda", "a", "-hda", "b"}, "-hda b: expected one drive per place"},
        {{"-hdc", "a", "-cdrom", "b"}, "-cdrom b: expected one drive per place"},
        {{"a", "b"}, "disk image 'b': expected one drive per place"},
        {{"-serial", "null", "-serial", "null", "-serial", "null"}, "-serial null: expected at most two"},
        {{"-serial", "stdio", "-monitor", "stdio"}, "stdio: expected one user"},
        {{"-verify", "-accel", "interp"}, "-verify: expected -accel dbt"},
        {{"-tb-cache", "f", "-accel", "interp"}, "-tb-cache: expected -accel dbt"},
    };
    for (const auto& [words, expected] : rows) {
        const auto options = parse(words);
        ASSERT_FALSE(options) << expected;
        EXPECT_EQ(options.error().message.rfind(expected, 0), 0u) << options.error().message;
        EXPECT_EQ(options.error().message.find('\n'), std::string::npos) << options.error().message;
    }
}

TEST(Options, HelpNamesEveryOption) {
    const std::string text = help_text();
    for (const char* name :
         {"-m ",           "-cpu ",     "-accel ",     "-smp ",      "-machine ", "-kernel ",
          "-initrd ",      "-append ",  "-hda ",       "-hdb ",      "-hdc ",     "-hdd ",
          "-cdrom ",       "-drive ",   "-boot ",      "-bios ",     "-serial ",  "-monitor ",
          "-display ",     "-vga ",     "-nographic ", "-debugcon ", "-device ",  "-rtc ",
          "-S ",           "-s ",       "-gdb ",       "-d ",        "-D ",       "-no-reboot ",
          "-no-shutdown ", "-tb-size ", "-passes ",    "-verify ",   "-version ", "-help "})
        EXPECT_NE(text.find(std::string("\n  ") + name), std::string::npos) << name;
}

TEST(Options, LogWords) {
    auto items = parse_log_words("exec,in_asm");
    ASSERT_TRUE(items);
    EXPECT_EQ(*items, u32(LogItem::Exec) | u32(LogItem::InAsm));
    EXPECT_FALSE(parse_log_words("exec,foo"));
}

} // namespace
} // namespace dragoman::runtime
