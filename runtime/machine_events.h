// What programs that watch the machine are told: an event's name and data as QMP has them.
#pragma once

#include "base/types.h"
#include "hw/core/scheduler.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace dragoman::runtime {

struct MachineEvent {
    using Value = std::variant<bool, u64, std::string>;
    const char* name;
    std::vector<std::pair<const char*, Value>> data;
};

// Tells the listeners. Events that a guest can cause as often as it likes come at most once in a second each;
// the last of those in between comes at the end of the second.
class MachineEvents {
  public:
    explicit MachineEvents(hw::Scheduler& scheduler) : scheduler_(scheduler) {} // borrowed

    void listen(std::function<void(const MachineEvent&)> listener) {
        listeners_.push_back(std::move(listener));
    }
    void announce(const MachineEvent& event);

  private:
    struct Limited {
        std::unique_ptr<hw::Timer> timer; // armed: until the next one may come
        std::unique_ptr<MachineEvent> waiting;
    };
    void tell(const MachineEvent& event);
    void limit(const std::string& key, const MachineEvent& event);

    hw::Scheduler& scheduler_;
    std::vector<std::function<void(const MachineEvent&)>> listeners_;
    std::map<std::string, Limited> limited_; // by name and "id"
};

} // namespace dragoman::runtime
