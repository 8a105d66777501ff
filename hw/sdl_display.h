// A window that shows a DisplaySource and passes on keys and mouse, by SDL 2. All calls on the main thread.
#pragma once

#include "base/result.h"
#include "hw/core/display.h"
#include "hw/keys.h"

#include <functional>
#include <memory>
#include <string>

namespace dragoman::hw {

class SdlDisplay {
  public:
    struct Callbacks {
        // A key of the PC keyboard. Repeats of the host are left out: the guest's keyboard makes its own.
        std::function<void(KeyCode key, bool down)> key;
        // Movement in mickeys (right and down positive), wheel clicks (towards the user positive), and the
        // buttons held: bit 0 left, 1 right, 2 middle. Only while the mouse is grabbed.
        std::function<void(int dx, int dy, int wheel, unsigned buttons)> mouse;
        std::function<void()> close; // the user closed the window
    };

    // The error says that there is no display to open a window on. `source` is borrowed.
    static Result<std::unique_ptr<SdlDisplay>> open(const std::string& title, DisplaySource& source,
                                                    Callbacks callbacks);
    virtual ~SdlDisplay() = default;

    // Handles what the user did and shows the picture anew if it changed. The runtime calls it about 30 times
    // a second.
    virtual void refresh() = 0;
};

} // namespace dragoman::hw
