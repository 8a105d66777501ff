#include "device_rig.h"

#include <algorithm>

namespace dragoman::test {

bool FuzzMemory::move(u64 gpa, u8* data, u64 bytes, bool writing) {
    if (gpa < size && bytes <= size - gpa) {
        u8* ram = ram_.data() + gpa;
        std::memcpy(writing ? ram : data, writing ? data : ram, bytes);
        return true;
    }
    const auto* there = map_.at(gpa);
    if (!there || !there->handler || bytes > there->bytes - (gpa - there->gpa) || depth_ == 4) {
        if (!writing) std::memset(data, 0xff, bytes);
        return false;
    }
    ++depth_;
    IoHandler& handler = *there->handler; // a write may take the mapping away
    const u64 offset = gpa - there->gpa;
    for (u64 i = 0; i + 4 <= bytes && i < 256; i += 4) {
        u32 word;
        std::memcpy(&word, data + i, 4);
        if (writing)
            handler.write((offset + i) & ~u64{3}, 4, word);
        else
            word = u32(handler.read((offset + i) & ~u64{3}, 4)), std::memcpy(data + i, &word, 4);
    }
    --depth_;
    return true;
}

// --- the disk

void FuzzDisk::submit(std::function<void()> work, Completion done) {
    ++count_;
    const auto status = fail_every && count_ % fail_every == 0 ? BlockStatus::IoError : BlockStatus::Ok;
    if (later) return waiting_.push_back({std::move(work), std::move(done), status});
    work();
    done(status);
}

void FuzzDisk::read(u64 sector, u32 count, u8* to, Completion done) {
    if (sector > sectors() || count > sectors() - sector) return done(BlockStatus::OutOfRange);
    submit([=] { std::memset(to, int(sector), std::size_t{count} * sector_bytes); }, std::move(done));
}

void FuzzDisk::write(u64 sector, u32 count, const u8* from, Completion done) {
    if (protect) return done(BlockStatus::ReadOnly);
    if (sector > sectors() || count > sectors() - sector) return done(BlockStatus::OutOfRange);
    submit(
        [=] {
            volatile u8 keep = 0;
            for (std::size_t n = 0; n < std::size_t{count} * sector_bytes; n += 64)
                keep = from[n]; // the sanitizer looks
            (void)keep;
        },
        std::move(done));
}

void FuzzDisk::discard(u64 sector, u64 count, Completion done) {
    if (sector > sectors() || count > sectors() - sector) return done(BlockStatus::OutOfRange);
    submit([] {}, std::move(done));
}

void FuzzDisk::finish(unsigned which) {
    if (waiting_.empty()) return;
    const auto at = waiting_.begin() + long(which % waiting_.size());
    Waiting w = std::move(*at);
    waiting_.erase(at);
    w.work();
    w.done(w.status);
}

// --- the program

void DeviceRig::add(hw::PciFunction& function) {
    pci_ = &function;
    devices_.push_back(&function);
    function.connect(ports_, map_, memory_, &line_);
    function.reset();
    u32 io = 0xc000, memory = 0xfe000000;
    for (u8 bar = hw::kPciBar0; bar < hw::kPciBar0 + 24; bar += 4) {
        function.config_write(bar, 4, ~0u);
        const u32 mask = function.config_read(bar, 4);
        if (mask == 0) continue;
        if (mask & 1) {
            function.config_write(bar, 4, io);
            port_ranges_.push_back({io, (~(mask & 0xfffc) & 0xffff) + 1});
            io += 0x400;
        } else {
            function.config_write(bar, 4, memory);
            memory += 0x100000;
            if ((mask & 6) == 4) function.config_write(bar += 4, 4, 0);
        }
    }
    function.config_write(hw::kPciCommand, 2, 7);
}

void DeviceRig::store(u64 gpa, unsigned size, u64 value) {
    if (const auto* there = map_.at(gpa);
        there && there->handler && size <= there->bytes - (gpa - there->gpa))
        there->handler->write(gpa - there->gpa, size, value);
}

void DeviceRig::access_ports(FuzzInput& input) {
    if (port_ranges_.empty()) return;
    const u8 how = input.byte();
    const Range& range = port_ranges_[how % port_ranges_.size()];
    const unsigned size = 1u << (input.byte() % 3);
    const u16 port = u16(range.first + input.byte() % range.bytes);
    if (how & 0x80)
        ports_.out(port, size, input.take<u32>());
    else
        for (unsigned n = how & 0x40 ? 64 : 1; n; --n)
            ports_.in(port, size);
}

void DeviceRig::access_registers(FuzzInput& input) {
    if (map_.mappings.empty()) return;
    const u8 how = input.byte();
    auto at = map_.mappings.begin();
    std::advance(at, (how & 0x1f) % map_.mappings.size());
    const auto mapping = at->second;
    if (!mapping.handler) return;
    const unsigned size = 1u << (how >> 5 & 3);
    const u64 offset = (input.take<u16>() % mapping.bytes) & ~u64{size - 1};
    if (how & 0x80)
        mapping.handler->write(offset, size,
                               size == 8 ? input.take<u64>() : input.take<u32>() & size_mask(size));
    else
        mapping.handler->read(offset, size);
}

// Nothing is under way in a saved state.
void DeviceRig::save_and_load(FuzzInput& input) {
    while (!disk_.idle())
        disk_.finish(0);
    hw::Device& device = *devices_[input.byte() % devices_.size()];
    const hw::StateImage saved = hw::test::save(device);
    if (input.byte() & 1) step(input);
    while (!disk_.idle())
        disk_.finish(0);
    hw::test::load(device, saved);
}

void DeviceRig::step(FuzzInput& input) {
    switch (input.byte() % 12) {
    case 0:
    case 1: return access_ports(input);
    case 2:
    case 3: return access_registers(input);
    case 4: { // memory
        const u32 at = input.take<u32>() % FuzzMemory::size;
        u8 bytes[16];
        for (u8& b : bytes)
            b = input.byte();
        memory_.write(at, bytes, sizeof bytes);
        return;
    }
    case 5: // time
        clock_.set(clock_.now() + (u64{1} << (input.byte() % 36)));
        return scheduler_.run_due();
    case 6: return disk_.finish(input.byte());
    case 7:
        disk_.later = input.byte() & 1;
        disk_.fail_every = input.byte() & 0xf;
        return;
    case 8:
        if (pci_) pci_->config_write(input.byte() & 0xfc, 4, input.take<u32>());
        return;
    case 9:
        switch (const u8 what = input.byte(); what & 0xf) {
        case 0: return devices_[what % devices_.size()]->reset();
        case 1: return save_and_load(input);
        default: return drive(input);
        }
    default: return drive(input);
    }
}

void DeviceRig::play(FuzzInput& input) {
    while (!input.empty())
        step(input);
    for (unsigned n = 0; n < 10000 && (!disk_.idle() || n < 8); ++n) {
        disk_.finish(0);
        clock_.set(clock_.now() + 1'000'000);
        scheduler_.run_due();
    }
}

} // namespace dragoman::test
