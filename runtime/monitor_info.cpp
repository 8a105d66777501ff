// The monitor's `info`.
#include "runtime/monitor_commands.h"

#include "runtime/registers_text.h"
#include "runtime/tb_cache.h"
#include "runtime/text.h"
#include "runtime/vnc_server.h"

#include <algorithm>
#include <unistd.h>

namespace dragoman::runtime {

namespace {

using ull = unsigned long long;

std::string info_registers(const MonitorCall& call) {
    return describe_registers(call.emulator.vcpu().cpu());
}

std::string info_status(const MonitorCall& call) {
    Emulator& e = call.emulator;
    if (!e.running()) return "VM status: paused\n";
    return e.vcpu().cpu().halted ? "VM status: running (processor halted)\n" : "VM status: running\n";
}

std::string info_cpus(const MonitorCall& call) {
    return format("* CPU #0: thread_id=%d%s\n", int(::getpid()),
                  call.emulator.vcpu().cpu().halted ? " (halted)" : "");
}
std::string info_mice(const MonitorCall& call) {
    hw::UsbTablet* const tablet = call.emulator.pc().tablet();
    const bool used = tablet && tablet->configured();
    return format("%c Mouse #0: PS/2 mouse\n", used ? ' ' : '*') +
           (tablet ? format("%c Mouse #1: USB tablet (absolute)\n", used ? '*' : ' ') : "");
}
std::string info_usb(const MonitorCall& call) {
    if (!call.emulator.options().usb) return "there is no USB (-usb)\n";
    hw::UsbTablet* const tablet = call.emulator.pc().tablet();
    if (!tablet) return "nothing is plugged in\n";
    return format("  Device 0.%u, Port 1, Speed 12 Mb/s, Product USB Tablet%s\n", tablet->address(),
                  tablet->configured() ? "" : " (not in use)");
}
std::string info_memory_size(const MonitorCall& call) {
    return format("base memory: %llu\nplugged memory: 0\n", ull(call.emulator.options().memory_bytes));
}
std::string info_snapshots(const MonitorCall& call) {
    std::string text;
    for (const DriveInfo& drive : call.emulator.disks().list())
        if (drive.inserted && drive.format == "qcow2")
            text += drive.name + ": dragoman-img snapshot -l " + drive.file + " lists them\n";
    return text.empty() ? "there is no image that could hold one\n" : text;
}

std::string info_vnc(const MonitorCall& call) {
    const VncServer* vnc = call.emulator.vnc();
    return vnc ? vnc->describe() : "there is none (-vnc)\n";
}

std::string info_version(const MonitorCall&) {
    return "Dragoman emulator version " DRAGOMAN_VERSION "\n";
}

std::string info_jit(const MonitorCall& call) {
    Vcpu& vcpu = call.emulator.vcpu();
    TranslationCache& cache = vcpu.cache();
    const TranslationCache::Counters& c = cache.counters();
    const Vcpu::Counters& v = vcpu.counters();
    const auto ratio = [](u64 a, u64 b) { return b ? double(a) / double(b) : 0.0; };
    std::string text;
    text += format("translated code  %llu of %llu KiB (%.1f%%)\n", ull(cache.bytes_used() / KiB),
                   ull(cache.bytes_total() / KiB), 100 * ratio(cache.bytes_used(), cache.bytes_total()));
    text += format(
        "blocks           %llu alive, %llu made, %llu invalidated, %llu evicted, %llu in old room\n",
        ull(cache.blocks_alive()), ull(c.blocks), ull(c.invalidated), ull(c.evicted), ull(c.in_old_room));
    text += format("block size       %.1f guest instructions, %.1f guest bytes, %.1f host bytes\n",
                   ratio(c.guest_instructions, c.blocks), ratio(c.guest_bytes, c.blocks),
                   ratio(c.host_bytes, c.blocks));
    text += format("host code        %.1f instructions in line for a guest instruction, %.1f bytes in all "
                   "for a guest byte\n",
                   ratio(c.host_instructions, c.guest_instructions), ratio(c.host_bytes, c.guest_bytes));
    text += "  of them        ";
    for (unsigned kind = 0; kind < backend::kInstructionKinds; ++kind)
        text += format("%s%s %.1f", kind ? ", " : "", backend::kInstructionKindNames[kind],
                       ratio(c.kinds[kind].host, c.kinds[kind].guest));
    text += "\n";
    text += format("translation      %.2f us a block, %.0f ns a guest instruction, %.3f s in all\n",
                   ratio(v.translation_ns, v.translations) / 1e3,
                   ratio(v.translation_ns, v.translated_instructions), double(v.translation_ns) / 1e9);
    text += format("interpreted first %llu blocks, %llu of them compiled then, %llu by another thread\n",
                   ull(c.cold), ull(c.warmed), ull(v.compiled_beside));
    if (const TbCache* kept = vcpu.tb_cache()) {
        const TbCache::Counters& k = kept->counters();
        if (kept->has_file())
            text += format("-tb-cache        %llu blocks from the file (%.1f%%), which had %llu\n",
                           ull(k.from_file), 100 * ratio(k.from_file, c.blocks), ull(k.in_file));
        text += format("reuse            %llu blocks from code of this run (%.1f%%), of %llu kept\n",
                       ull(k.of_this_run), 100 * ratio(k.of_this_run, c.blocks), ull(k.kept));
    }
    text += format("links            %llu made\n", ull(c.links));
    text += vcpu.counts_instructions()
                ? format("instructions     %llu retired\n", ull(vcpu.instructions_retired()))
                : "instructions     not counted (-passes uncounted=off counts them)\n";
    text += format("returns to loop  %llu lookups, %llu events, %llu faults, %llu restarts, %llu halts\n",
                   ull(v.lookups), ull(v.events), ull(v.faults), ull(v.restarts), ull(v.halts));
    text += format("interrupts       %llu taken\n", ull(v.interrupts));
    return text;
}

std::string info_mem(const MonitorCall& call) {
    return call.emulator.vcpu().mmu().describe();
}

std::string info_tlb(const MonitorCall& call) {
    static constexpr const char* views[] = {"supervisor", "supervisor, SMAP", "user"};
    const softmmu::Tlb& tlb = call.emulator.vcpu().tlb();
    std::string text;
    tlb.for_each(
        [&](softmmu::View view, u64 page, const softmmu::TlbEntry& entry, const softmmu::Mapping& mapping) {
            const auto way = [&](u64 tag, char letter) { return tag == page ? letter : '-'; };
            text += format("%016llx %c%c- %4lluK %s%s\n", ull(page), way(entry.read_tag, 'r'),
                           way(entry.write_tag, 'w'), ull((u64{1} << mapping.page_bits) / KiB),
                           views[unsigned(view)], mapping.global ? ", global" : "");
        });
    tlb.code().for_each([&](const softmmu::CodePages::Page& page, bool user) {
        text += format("%016llx --x %4lluK %s%s\n", ull(page.linear),
                       ull((u64{1} << page.mapping.page_bits) / KiB), user ? "user" : "supervisor",
                       page.mapping.global ? ", global" : "");
    });
    return text.empty() ? "the TLB is empty\n" : text;
}

std::string info_pic(const MonitorCall& call) {
    return call.emulator.pc().pic().describe();
}
std::string info_lapic(const MonitorCall& call) {
    return call.emulator.pc().lapic().describe();
}
std::string info_ioapic(const MonitorCall& call) {
    return call.emulator.pc().ioapic().describe();
}
std::string info_mtree(const MonitorCall& call) {
    return call.emulator.memory().describe();
}

std::string info_block(const MonitorCall& call) {
    return call.emulator.disks().describe();
}

std::string info_pci(const MonitorCall& call) {
    std::string text;
    for (unsigned place = 0; place < 256; ++place) {
        const hw::PciFunction* f = call.emulator.pc().pci().at(place / 8, place % 8);
        if (!f) continue;
        const auto config = [&](unsigned offset, unsigned size) { return f->config_read(u8(offset), size); };
        text += format("0:%u.%u %s: %04x:%04x class %06x", place / 8, place % 8, f->name(),
                       config(hw::kPciVendorId, 2), config(hw::kPciDeviceId, 2),
                       config(hw::kPciRevision, 4) >> 8);
        if (const u32 pin = config(hw::kPciInterruptPin, 1))
            text += format(", INT%c# IRQ %u", char('A' + pin - 1), config(hw::kPciInterruptLine, 1));
        text += '\n';
        for (unsigned n = 0; n < 6; ++n) {
            const u32 bar = config(hw::kPciBar0 + 4 * n, 4);
            if (!bar) continue;
            if (bar & 1) {
                text += format("    BAR%u: ports 0x%04x\n", n, bar & ~3u);
            } else {
                const bool wide = (bar & 6) == 4 && n < 5;
                const u64 high = wide ? config(hw::kPciBar0 + 4 * n + 4, 4) : 0;
                text += format("    BAR%u: memory 0x%llx%s\n", n, ull(high << 32 | (bar & ~15u)),
                               bar & 8 ? ", prefetchable" : "");
                n += wide;
            }
        }
    }
    return text;
}

std::string info_name(const MonitorCall& call) {
    const std::string& name = call.emulator.options().name;
    return name.empty() ? "the machine has no name\n" : name + "\n";
}
std::string info_uuid(const MonitorCall& call) {
    const std::string& uuid = call.emulator.options().uuid;
    return (uuid.empty() ? "00000000-0000-0000-0000-000000000000" : uuid) + "\n";
}

std::string info_chardev(const MonitorCall& call) {
    std::string text;
    for (const Chardevs::Info& chardev : call.emulator.chardevs().list())
        text += chardev.label + ": filename=" + chardev.what + (chardev.open ? "\n" : " (nobody is there)\n");
    return text.empty() ? "no character devices\n" : text;
}

std::string info_balloon(const MonitorCall& call) {
    hw::VirtioBalloon* device = call.emulator.cards().balloon();
    if (!device) return "there is no balloon (-device virtio-balloon-pci)\n";
    static constexpr const char* names[] = {
        "swapped in", "swapped out", "major faults", "minor faults",    "free memory",
        "memory",     "available",   "disk caches",  "huge pages made", "huge pages that failed"};
    std::string text = format("balloon: actual=%llu\n", ull(device->guest_bytes() / MiB));
    const auto stats = device->stats();
    for (std::size_t n = 0; n < stats.size(); ++n)
        if (stats[n]) text += format("    %-23s %llu\n", names[n], ull(*stats[n]));
    return text;
}

// The buses and what is on them.
std::string info_qtree(const MonitorCall& call) {
    hw::Pc& pc = call.emulator.pc();
    std::string text = "bus: main-system-bus\n  dev: i440FX-pcihost\n    bus: pci.0\n";
    std::vector<const hw::Device*> on_pci;
    for (unsigned place = 0; place < 256; ++place)
        if (const hw::PciFunction* f = pc.pci().at(place / 8, place % 8)) {
            text += format("      dev: %s, addr = %02x.%x\n", f->name(), place / 8, place % 8);
            on_pci.push_back(f);
        }
    text += "      bus: isa.0\n";
    for (const hw::Device* device : pc.devices())
        if (std::find(on_pci.begin(), on_pci.end(), device) == on_pci.end())
            text += format("        dev: %s\n", device->name());
    return text;
}

constexpr MonitorCommand topics[] = {
    {"name", "", "", 0, 0, "of the machine", info_name},
    {"uuid", "", "", 0, 0, "of the machine", info_uuid},
    {"chardev", "", "", 0, 0, "the character devices", info_chardev},
    {"balloon", "", "", 0, 0, "how much memory the guest keeps", info_balloon},
    {"qtree", "", "", 0, 0, "the devices on their buses", info_qtree},
    {"registers", "", "", 0, 0, "the processor's registers", info_registers},
    {"jit", "", "", 0, 0, "translated code and why it was left", info_jit},
    {"mem", "", "", 0, 0, "the mappings of the page tables in use", info_mem},
    {"tlb", "", "", 0, 0, "what the software TLB holds", info_tlb},
    {"pic", "", "", 0, 0, "the 8259A interrupt controllers", info_pic},
    {"lapic", "", "", 0, 0, "the local APIC", info_lapic},
    {"ioapic", "", "", 0, 0, "the I/O APIC", info_ioapic},
    {"mtree", "", "", 0, 0, "who answers at which physical addresses", info_mtree},
    {"pci", "", "", 0, 0, "the PCI functions", info_pci},
    {"block", "", "", 0, 0, "the drives", info_block},
    {"vnc", "", "", 0, 0, "where VNC viewers find the screen, and how many there are", info_vnc},
    {"network", "", "", 0, 0, "the network cards and what they are connected to", monitor_info_network},
    {"usernet", "", "", 0, 0, "the same", monitor_info_network},
    {"cpus", "", "", 0, 0, "the processors", info_cpus},
    {"usb", "", "", 0, 0, "what is plugged in", info_usb},
    {"mice", "", "", 0, 0, "the pointing devices", info_mice},
    {"memory_size_summary", "", "", 0, 0, "how much memory there is", info_memory_size},
    {"snapshots", "", "", 0, 0, "which images may hold some", info_snapshots},
    {"status", "", "", 0, 0, "does the machine run?", info_status},
    {"version", "", "", 0, 0, "of the emulator", info_version},
};

} // namespace

std::span<const MonitorCommand> monitor_info_topics() {
    return topics;
}

} // namespace dragoman::runtime
