#include "softmmu/epochs.h"

namespace dragoman::softmmu {

void Epochs::begin(Epoch& epoch) {
    ++changes_;
    if (last_ == 0xff) { // begin again: every tag that was given is void
        last_ = 2;
        ++generation_;
        ++forgotten_;
        user_ = {.tag = 1};
        supervisor_ = {.tag = 2};
        return;
    }
    epoch = {.tag = ++last_};
}

void Epochs::end_all() {
    begin(user_);
    begin(supervisor_);
    ++forgotten_;
    global_user_code_ = false;
}

void Epochs::drop_page(u64 linear) {
    if (has_code(user_, linear)) begin(user_);
    if (has_code(supervisor_, linear)) begin(supervisor_);
    if (global_user_code_) ++forgotten_; // it may be in those, too
}

Epochs::Kept Epochs::leave() const {
    return {user_, forgotten_};
}

void Epochs::enter(const Kept* kept) {
    if (supervisor_.local) begin(supervisor_);
    if (kept && kept->forgotten == forgotten_) {
        user_ = kept->epoch;
        ++changes_;
    } else {
        begin(user_);
    }
}

} // namespace dragoman::softmmu
