// One IDE channel: two places for devices, the task file ports, and the bus-master engine that moves their
// data (ATA/ATAPI-6; "Programming Interface for Bus Master IDE Controller", 1.0; 82371SB data sheet, 2.7).
#pragma once

#include "base/io.h"
#include "hw/ata_device.h"
#include "hw/core/irq.h"

#include <array>
#include <functional>
#include <memory>
#include <string>

namespace dragoman::hw {

class IdeChannel final {
  public:
    // What the controller decides for its channels.
    struct Bus {
        std::function<bool()> decodes;   // do the legacy ports answer?
        std::function<DmaBus*()> memory; // null while bus mastering is off
    };
    // `irq` and `log` are borrowed. `name` prefixes the fields of the saved state.
    IdeChannel(std::string name, IrqLine& irq, Bus bus, Log& log);
    ~IdeChannel();

    // Puts devices on the cable, before the machine runs. Null: the place is empty.
    void attach(std::unique_ptr<AtaDevice> device0, std::unique_ptr<AtaDevice> device1);
    AtaDevice* device(unsigned index) const { return devices_[index].get(); }

    IoHandler& command_ports() { return command_; } // 8 ports, 0x1f0 or 0x170
    IoHandler& control_port() { return control_; }  // 1 port, 0x3f6 or 0x376

    // Bus-master registers of this channel: command (0), status (2), descriptor table (4..7).
    u8 read_bus_master(unsigned offset) const;
    void write_bus_master(unsigned offset, u8 value);

    void reset();
    void visit(StateVisitor& visitor);

  private:
    class Ports final : public IoHandler {
      public:
        Ports(IdeChannel& channel, bool control) : channel_(channel), control_(control) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

      private:
        IdeChannel& channel_;
        bool control_;
    };

    u8 read_register(AtaReg reg);
    void write_register(AtaReg reg, u8 value);
    void write_control(u8 value);
    u8 read_status(bool acknowledge);
    AtaDevice* selected() const { return devices_[state_.selected].get(); }
    bool empty() const { return !devices_[0] && !devices_[1]; }

    void update(); // INTRQ or DMARQ may have changed
    void move_data();
    bool next_descriptor(DmaBus& memory);
    void stop_with_error(const char* why);

    struct State {
        u8 selected = 0, control = 0;
        bool irq = false; // level of INTRQ as the host sees it
        // Bus master.
        u8 command = 0, status = 0;
        u32 table = 0;
        // The engine between two pieces.
        u32 next = 0, address = 0, left = 0, descriptors = 0;
        bool last = false;
    };

    std::string name_;
    IrqLine& irq_;
    Bus bus_;
    Log& log_;
    std::array<std::unique_ptr<AtaDevice>, 2> devices_;
    Ports command_, control_;
    State state_;
    bool moving_ = false; // guards against re-entry through the devices' notices
};

} // namespace dragoman::hw
