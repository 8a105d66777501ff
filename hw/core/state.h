// One visitor saves and loads a chip's state: the chip names each field once.
#pragma once

#include "base/types.h"

#include <cstring>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

namespace dragoman::hw {

class StateVisitor {
  public:
    virtual ~StateVisitor() = default;
    virtual bool loading() const = 0;

    // `value` is a number, an enum, a plain struct or an array of those.
    template <class T> void field(const char* name, T& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        bytes(name, &value, sizeof value);
    }
    // A flag is one byte, 0 or 1 after loading whatever the file said.
    void field(const char* name, bool& value) {
        u8 byte = value ? 1 : 0;
        bytes(name, &byte, 1);
        value = byte != 0;
    }

  protected:
    virtual void bytes(const char* name, void* data, std::size_t size) = 0;
};

// State held in memory by name: the store behind tests (save, change, load, compare).
class StateImage {
  public:
    using Fields = std::map<std::string, std::vector<u8>>;
    const Fields& fields() const { return fields_; }
    friend bool operator==(const StateImage& a, const StateImage& b) { return a.fields_ == b.fields_; }

    class Saver final : public StateVisitor {
      public:
        explicit Saver(StateImage& image) : image_(image) {}
        bool loading() const override { return false; }

      protected:
        void bytes(const char* name, void* data, std::size_t size) override {
            const u8* p = static_cast<const u8*>(data);
            image_.fields_[name].assign(p, p + size);
        }

      private:
        StateImage& image_;
    };

    // A field that is missing or of another size keeps its value; `complete()` then says false.
    class Loader final : public StateVisitor {
      public:
        explicit Loader(const StateImage& image) : image_(image) {}
        bool loading() const override { return true; }
        bool complete() const { return complete_; }

      protected:
        void bytes(const char* name, void* data, std::size_t size) override {
            const auto it = image_.fields_.find(name);
            if (it == image_.fields_.end() || it->second.size() != size) {
                complete_ = false;
                return;
            }
            std::memcpy(data, it->second.data(), size);
        }

      private:
        const StateImage& image_;
        bool complete_ = true;
    };

  private:
    Fields fields_;
};

// What every chip is to the machine. The constructor of a chip takes its IRQ lines, the scheduler and its
// back-end; reset() is the effect of its reset pin; visit() saves or loads its state and rearms its timers
// after loading.
class Device {
  public:
    virtual ~Device() = default;
    virtual const char* name() const = 0;
    virtual void reset() = 0;
    virtual void visit(StateVisitor& visitor) = 0;
};

} // namespace dragoman::hw
