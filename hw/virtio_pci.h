// Virtio over PCI (Virtual I/O Device 1.1, 4.1): the modern interface in a memory BAR found by capabilities,
// and the legacy one in an I/O BAR, for drivers from before version 1. A transitional device has both.
#pragma once

#include "hw/core/pci.h"
#include "hw/virtio_device.h"

#include <memory>

namespace dragoman::hw {

class VirtioPci final : public PciFunction, private VirtioTransport {
  public:
    struct Options {
        bool legacy = true, modern = true; // at least one of them
        unsigned vectors = 0;              // MSI-X vectors; 0: INTx only
    };
    VirtioPci(std::unique_ptr<VirtioDevice> device, const Options& options);

    VirtioDevice& device() { return *device_; }

    void reset() override;
    void visit(StateVisitor& visitor) override;
    void config_reading(u8 offset, unsigned size) override;

  protected:
    void config_written(u8 offset, unsigned size) override;

  private:
    struct Field; // a register of the common configuration or of the legacy header
    static const Field kCommon[], kLegacy[], kLegacyVectors[];
    class Modern final : public IoHandler {
      public:
        explicit Modern(VirtioPci& owner) : owner_(owner) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

      private:
        VirtioPci& owner_;
    };
    class Legacy final : public IoHandler {
      public:
        explicit Legacy(VirtioPci& owner) : owner_(owner) {}
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, unsigned size, u64 value) override;

      private:
        VirtioPci& owner_;
    };

    // VirtioTransport
    DmaBus* memory() override { return bus_master() ? &dma() : nullptr; }
    void queue_interrupt(VirtQueue& queue) override;
    void config_interrupt() override;

    void add_capabilities();
    u64 read_fields(std::span<const Field> fields, u64 offset, unsigned size);
    void write_fields(std::span<const Field> fields, u64 offset, unsigned size, u64 value);
    u64 read_config(u64 offset, unsigned size);
    void write_config(u64 offset, unsigned size, u64 value);
    u64 take_isr();
    void set_status(u8 status);
    void set_vector(u16& vector, u64 value);
    VirtQueue* selected();
    u64 legacy_header() const { return msix_enabled() ? 24 : 20; }
    bool window(u64& offset, unsigned& size) const;

    std::unique_ptr<VirtioDevice> device_;
    Options options_;
    Modern modern_{*this};
    Legacy legacy_{*this};
    u8 window_ = 0; // offset of the capability that reaches the BAR through configuration space
    struct State {
        u32 device_feature_select = 0, driver_feature_select = 0;
        u64 driver_features = 0; // as written, before they are cut to what is offered
        u16 queue_select = 0, config_vector = 0xffff;
        u8 isr = 0;
    } state_;
};

} // namespace dragoman::hw
