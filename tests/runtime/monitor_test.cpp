#include "runtime/monitor.h"

#include "runtime/socket.h"
#include "tiny_guest.h"

#include <fstream>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>

namespace dragoman::runtime {
namespace {

// xor ax,ax; mov ds,ax; mov ebx,0x12345678; mov sp,0x7000; loop: inc dword [0x500]; jmp loop
constexpr u8 counter[] = {0x31, 0xc0, 0x8e, 0xd8, 0x66, 0xbb, 0x78, 0x56, 0x34, 0x12,
                          0xbc, 0x00, 0x70, 0x66, 0xff, 0x06, 0x00, 0x05, 0xeb, 0xf9};

class MonitorTest : public testing::Test {
  protected:
    MonitorTest() {
        guest_.options.start_stopped = true;
        guest_.create();
    }
    std::string run(const std::string& line) { return run_monitor_command(*guest_.emulator, line); }
    TinyGuest guest_{counter};
};

TEST_F(MonitorTest, MistakesAreOneLineThatSaysWhatThereIs) {
    for (const char* line : {"foo",           "info foo",     "x",          "x/zz 0",  "x/99999999 0",
                             "x 1+",          "print",        "print/i 1",  "p $foo",  "sendkey",
                             "sendkey nokey", "sendkey a--b", "log",        "log foo", "help foo",
                             "quit now",      "info mem now", "screendump", "/x",      "stop/x/y 1"}) {
        const std::string text = run(line);
        EXPECT_NE(text.find("expected"), std::string::npos) << line << ": " << text;
        EXPECT_EQ(text.find('\n'), text.size() - 1) << line << ": " << text;
    }
    EXPECT_EQ(run(""), "");
    EXPECT_EQ(run("   "), "");
}

TEST_F(MonitorTest, HelpListsEveryCommand) {
    const std::string text = "\n" + run("help");
    for (const char* word : {"help", "info", "x/FMT", "xp/FMT", "print", "stop", "cont", "system_reset",
                             "system_powerdown", "sendkey", "nmi", "screendump", "log", "quit"})
        EXPECT_NE(text.find(std::string("\n") + word), std::string::npos) << word << " in" << text;
    EXPECT_NE(run("help info").find("info lapic"), std::string::npos);
}

TEST_F(MonitorTest, ReportsMachineChecks) {
    EXPECT_EQ(run("mce 0 2 0x8000000000000011 0 0x1000 0"), "") << "a corrected error";
    EXPECT_EQ(guest_.emulator->vcpu().cpu().mc_banks[2].status, 0x8000000000000011u);
    EXPECT_EQ(guest_.emulator->vcpu().cpu().mc_banks[2].address, 0x1000u);
    EXPECT_NE(run("mce 0 2 0x11 0 0 0").find("VAL"), std::string::npos) << "no error";
    EXPECT_NE(run("mce 0 4294967298 0x8000000000000011 0 0 0").find("expected 0 to 9"), std::string::npos);
    EXPECT_NE(run("mce 1 0 0 0 0 0").find("expected 0"), std::string::npos);
    EXPECT_NE(run("mce 0 0 zero 0 0 0").find("expected a number"), std::string::npos);
    EXPECT_FALSE(guest_.emulator->vcpu().cpu().machine_check_pending);
}

TEST_F(MonitorTest, EveryInfoTopicAnswers) {
    for (const char* topic :
         {"registers", "jit",     "mem",  "tlb",       "pic",          "lapic",
          "ioapic",    "mtree",   "pci",  "block",     "status",       "version",
          "cpus",      "usernet", "mice", "usb",       "vnc",          "snapshots",
          "block -v",  "kvm",     "roms", "history",   "mtree -f",     "irq",
          "migrate",   "tpm",     "numa", "iothreads", "registers -a", "memory_size_summary"}) {
        const std::string text = run(std::string("info ") + topic);
        EXPECT_FALSE(text.empty()) << topic;
        EXPECT_EQ(text.find("expected"), std::string::npos) << topic << ": " << text;
    }
    EXPECT_NE(run("info registers").find("RIP=000000000000fff0"), std::string::npos) << run("info registers");
    EXPECT_NE(run("info pci").find("8086:1237"), std::string::npos) << run("info pci");
    EXPECT_EQ(run("info status"), "VM status: paused\n");
}

TEST_F(MonitorTest, ExaminesMemory) {
    u8* ram = guest_.emulator->memory().ram();
    for (unsigned i = 0; i < 32; ++i)
        ram[0x600 + i] = u8(0xf0 + i);
    EXPECT_EQ(run("x 0x600"), "0000000000000600: 0xf3f2f1f0\n");
    EXPECT_EQ(run("x/3xb 0x600"), "0000000000000600: 0xf0 0xf1 0xf2\n");
    EXPECT_EQ(run("x /2dh 0x600"), "0000000000000600: -3600 -3086\n");
    EXPECT_EQ(run("x/2ub 0x600"), "0000000000000600: 240 241\n");
    EXPECT_EQ(run("x/1ob 0x600"), "0000000000000600: 0360\n");
    EXPECT_EQ(run("xp/3xg 0x600"), "0000000000000600: 0xf7f6f5f4f3f2f1f0 0xfffefdfcfbfaf9f8\n"
                                   "0000000000000610: 0x0706050403020100\n");
    std::memcpy(ram + 0x700, "A\nz", 3);
    EXPECT_EQ(run("x/3c 0x700"), "0000000000000700: 'A' '\\x0a' 'z'\n");
    EXPECT_EQ(run("xp/1xw 0xfee00030").substr(0, 17), "00000000fee00030:") << "a device's register";
    EXPECT_EQ(run("xp/1xw 0x90000000"), "no memory at 0x90000000\n");
    // A page's end with nothing behind it.
    EXPECT_EQ(run("xp/2xw 0xfffffc"), "0000000000fffffc: 0x00000000\nno memory at 0x1000000\n");
}

TEST(MonitorBoard, ChipsThatAreNotThere) {
    TinyGuest guest{counter};
    guest.options.start_stopped = true;
    guest.options.acpi = guest.options.hpet = false;
    guest.options.usb = guest.options.tablet = true;
    guest.create();
    const auto run = [&](const char* line) { return run_monitor_command(*guest.emulator, line); };
    const std::string pci = run("info pci");
    EXPECT_EQ(pci.find("piix4_pm"), std::string::npos) << pci;
    EXPECT_NE(pci.find("0:1.2 piix3-usb-uhci: 8086:7020 class 0c0300, INTD#"), std::string::npos) << pci;
    EXPECT_EQ(run("xp/1xw 0xfed00000"), "no memory at 0xfed00000\n");
    EXPECT_NE(run("info usb").find("USB Tablet (not in use)"), std::string::npos);
    EXPECT_NE(run("info mice").find("* Mouse #0"), std::string::npos);
    EXPECT_FALSE(guest.emulator->point(1, 2, 0, 0)) << "the guest has not found it";
}

TEST_F(MonitorTest, SavesMemory) {
    std::memcpy(guest_.emulator->memory().ram() + 0x600, "saved memory", 12);
    const std::string file = testing::TempDir() + "monitor-memory-" + std::to_string(getpid());
    const auto content = [&] {
        std::ifstream in(file);
        return std::string(std::istreambuf_iterator<char>(in), {});
    };
    EXPECT_EQ(run("pmemsave 0x600 12 " + file), "");
    EXPECT_EQ(content(), "saved memory");
    EXPECT_EQ(run("memsave 0x606 6 " + file), "");
    EXPECT_EQ(content(), "memory");
    EXPECT_EQ(run("pmemsave 0 0x20000 " + file), "") << "more than a piece";
    EXPECT_EQ(content().size(), 0x20000u);
    EXPECT_NE(run("pmemsave 0xfffff0 32 " + file).find("no memory at"), std::string::npos);
    EXPECT_NE(run("pmemsave 0 1 /nosuch/file").find("cannot be created"), std::string::npos);
    EXPECT_NE(run("pmemsave zero 1 " + file).find("expected"), std::string::npos);
    unlink(file.c_str());
    EXPECT_EQ(run("gva2gpa 0x600"), "gpa: 0x600\n");
    EXPECT_EQ(run("sum 0x600 2"), "32922\n") << "rotated right, then added: 's', 'a'";
}

TEST_F(MonitorTest, Ports) {
    EXPECT_EQ(run("o/b 0x70 0x10"), "");
    EXPECT_EQ(run("o/b 0x71 0xab"), "");
    EXPECT_EQ(run("i/b 0x71"), "portl[0x0071] = 0xab\n");
    EXPECT_EQ(run("o/w 0xcf8 0x80000000"), "");
    EXPECT_EQ(run("i/w 0xcfc"), "portl[0x0cfc] = 0x12378086\n");
    EXPECT_NE(run("i/q 0x71").find("expected"), std::string::npos);
    EXPECT_NE(run("i/b 0x10000").find("expected"), std::string::npos);
}

TEST_F(MonitorTest, WordsOfOtherMonitors) {
    for (const char* word : {"savevm a", "loadvm a", "commit all", "migrate tcp:x", "gdbserver",
                             "wavcapture x", "info nosuch"}) {
        const std::string text = run(word);
        EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
        EXPECT_NE(text.find(std::string(word).substr(0, 4) == "info" ? "expected" : "not built"),
                  std::string::npos)
            << text;
    }
    EXPECT_EQ(run("mouse_move 1 -2"), "");
    EXPECT_EQ(run("mouse_button 1"), "");
    EXPECT_NE(run("mouse_button 9").find("expected"), std::string::npos);
    EXPECT_EQ(run("boot_set d"), "");
    EXPECT_NE(run("boot_set z").find("expected"), std::string::npos);
    EXPECT_EQ(run("sendkey a 100"), "");
    EXPECT_NE(run("set_password vnc x").find("no VNC"), std::string::npos);
}

TEST_F(MonitorTest, Disassembles) {
    EXPECT_EQ(run("x/i $pc"), "fffffff0  ea000000f0             jmp far 0xF000:0x0000\n");
    const std::string text = run("x/5i 0xf0000");
    EXPECT_NE(text.find("000f0004  66bb78563412           mov ebx, 0x12345678\n"), std::string::npos) << text;
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 5) << text;
    const std::string many = run("x/300i 0xf0000");
    EXPECT_EQ(std::count(many.begin(), many.end(), '\n'), 300);
    // Not past the end of what is mapped.
    EXPECT_NE(run("xp/9i 0xfffffe").find("no memory at 0x1000000"), std::string::npos)
        << run("xp/9i 0xfffffe");
}

TEST_F(MonitorTest, PrintsExpressions) {
    EXPECT_EQ(run("print $rip"), "0xfff0\n");
    EXPECT_EQ(run("p $pc"), "0xfffffff0\n");
    EXPECT_EQ(run("p /d 1 - 2"), "-1\n");
    EXPECT_EQ(run("p/c 65"), "'A'\n");
    EXPECT_EQ(run("p $cs"), "0xf000\n");
}

TEST_F(MonitorTest, KeysReachTheKeyboard) {
    EXPECT_EQ(run("sendkey ctrl-a"), "");
    hw::Ps2Keyboard& keyboard = guest_.emulator->pc().keyboard();
    std::vector<u8> codes;
    while (keyboard.has_data() && codes.size() < 100)
        codes.push_back(keyboard.take());
    EXPECT_EQ(codes, (std::vector<u8>{0x14, 0x1c, 0xf0, 0x1c, 0xf0, 0x14}));
}

TEST_F(MonitorTest, LogAndScreendump) {
    EXPECT_EQ(run("log int,mmu"), "");
    EXPECT_TRUE(guest_.log.enabled(LogItem::Int));
    EXPECT_FALSE(guest_.log.enabled(LogItem::Exec));
    EXPECT_EQ(run("log none"), "");
    EXPECT_EQ(guest_.log.items(), 0u);
    const std::string file = testing::TempDir() + "/monitor test.png";
    EXPECT_EQ(run("screendump " + file), "");
    struct stat st {};
    EXPECT_EQ(stat(file.c_str(), &st), 0);
    EXPECT_GT(st.st_size, 50);
    EXPECT_EQ(run("screendump " + file + " -f ppm"), "");
    EXPECT_EQ(stat(file.c_str(), &st), 0);
    EXPECT_GT(st.st_size, 720 * 400 * 3) << "not compressed";
    EXPECT_NE(run("screendump -f gif " + file).find("gif"), std::string::npos);
    unlink(file.c_str());
    EXPECT_NE(run("screendump /nonexistent/x.png").find("/nonexistent/x.png"), std::string::npos);
}

// The whole emulator, with the monitor at a socket.
class RunningMonitorTest : public testing::Test {
  protected:
    RunningMonitorTest() {
        path_ = testing::TempDir() + "/monitor-" + std::to_string(getpid()) + ".sock";
        guest_.options.monitor = "unix:" + path_ + ",server,nowait";
    }
    void start() {
        guest_.create();
        thread_ = std::thread([this] { status_ = guest_.emulator->run(); });
        auto fd = connect_unix(path_);
        ASSERT_TRUE(fd) << fd.error().message;
        fd_ = *fd;
        const std::string greeting = answer();
        EXPECT_EQ(greeting.rfind("Dragoman ", 0), 0u) << greeting;
    }
    ~RunningMonitorTest() override {
        if (fd_ >= 0) close(fd_);
        if (thread_.joinable()) thread_.join();
    }
    // Up to the next prompt, without it.
    std::string answer() {
        const std::string prompt = "(dragoman) ";
        std::string text;
        while (text.size() < prompt.size() || text.substr(text.size() - prompt.size()) != prompt) {
            pollfd p{.fd = fd_, .events = POLLIN, .revents = 0};
            char bytes[4096];
            ssize_t n = poll(&p, 1, 10000) == 1 ? read(fd_, bytes, sizeof bytes) : -1;
            if (n <= 0) {
                ADD_FAILURE() << "no prompt after: " << text;
                return text;
            }
            for (ssize_t i = 0; i < n; ++i)
                if (bytes[i] != '\r') text += bytes[i];
        }
        return text.substr(0, text.size() - prompt.size());
    }
    void type(const std::string& text) {
        EXPECT_EQ(send(fd_, text.data(), text.size(), MSG_NOSIGNAL), ssize_t(text.size()));
    }
    std::string command(const std::string& line) {
        type(line + "\n");
        const std::string text = answer();
        EXPECT_EQ(text.substr(0, line.size() + 1), line + "\n") << "the echo";
        return text.substr(std::min(text.size(), line.size() + 1));
    }
    u64 count() {
        const std::string text = command("print/d 1"); // the monitor answers while the machine runs
        EXPECT_EQ(text, "1\n");
        const std::string line = command("xp/1xw 0x500");
        return std::stoull(line.substr(18), nullptr, 16);
    }
    bool counts() {
        const u64 before = count();
        for (int i = 0; i < 2000; ++i) {
            if (count() != before) return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return false;
    }
    void quit() {
        type("quit\n");
        thread_.join();
        EXPECT_EQ(status_, 0);
    }

    std::string path_;
    TinyGuest guest_{counter};
    std::thread thread_;
    int fd_ = -1;
    int status_ = -1;
};

TEST_F(RunningMonitorTest, StopsAndContinues) {
    start();
    EXPECT_TRUE(counts());
    command("stop");
    EXPECT_EQ(command("info status"), "VM status: paused\n");
    const u64 stopped_at = count();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(count(), stopped_at);
    EXPECT_EQ(command("p $ebx"), "0x12345678\n");
    command("cont");
    EXPECT_EQ(command("info status"), "VM status: running\n");
    EXPECT_TRUE(counts());
    quit();
}

TEST_F(RunningMonitorTest, StartsStopped) {
    guest_.options.start_stopped = true;
    start();
    EXPECT_EQ(command("info status"), "VM status: paused\n");
    EXPECT_EQ(command("p $rip"), "0xfff0\n");
    command("c");
    EXPECT_TRUE(counts());
    command("stop");
    command("system_reset");
    EXPECT_EQ(command("p $rip"), "0xfff0\n") << "a reset while stopped";
    command("c");
    EXPECT_TRUE(counts());
    quit();
}

TEST_F(RunningMonitorTest, LineEditingAtTheSocket) {
    start();
    type("p 12\b\x15print 7\r");
    EXPECT_NE(answer().find("\n0x7\n"), std::string::npos);
    type("\x1b[A\r");
    EXPECT_EQ(answer(), "print 7\n0x7\n");
    quit();
}

TEST_F(RunningMonitorTest, NextClientIsGreetedToo) {
    start();
    type("half a li");
    close(fd_);
    auto fd = connect_unix(path_);
    ASSERT_TRUE(fd);
    fd_ = *fd;
    EXPECT_EQ(answer().rfind("Dragoman ", 0), 0u);
    EXPECT_EQ(command("print 5"), "0x5\n");
    quit();
}

} // namespace
} // namespace dragoman::runtime
