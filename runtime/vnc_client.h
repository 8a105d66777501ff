// One viewer of the screen: its connection, the handshake and the messages both ways (RFC 6143, chapter 7).
#pragma once

#include "runtime/rfb.h"
#include "runtime/waker.h"
#include "runtime/web_socket.h"

#include <functional>
#include <memory>
#include <zlib.h>

namespace dragoman::runtime {

// What all viewers share.
struct VncScreen {
    const hw::Surface* picture = nullptr; // as it was rendered last
    std::string name;
    bool guarded = false;                // with a password; until there is one nobody gets in
    std::optional<std::string> password; // of that its first eight bytes count
    std::optional<i64> expires;          // after this second since 1970 it does not count any more
    std::function<void(hw::KeyCode key, bool down)> key;
    std::function<void(int dx, int dy, int wheel, unsigned buttons)> mouse;
    // Instead, where the guest has a tablet: 0 to 0x7fff each way. False: it has none.
    std::function<bool(u16 x, u16 y, int wheel, unsigned buttons)> point;
    std::function<void()> wanted; // a viewer waits for a picture
};

class VncClient {
  public:
    static constexpr u32 tile = 64; // pixels each way: what is sent anew is found by tiles

    // `fd` is taken over; the others are borrowed. `web`: a browser's.
    VncClient(int fd, const VncScreen& screen, Waker& waker, bool web = false);
    ~VncClient();
    VncClient(const VncClient&) = delete;
    VncClient& operator=(const VncClient&) = delete;

    bool gone() const { return fd_ < 0; } // to be destroyed, but not from inside
    bool waits() const { return requested_; }

    void resized(); // the picture has another size, and is new all over
    void changed(u32 tile_x, u32 tile_y);
    void update(); // sends what is new, if it is waited for and there is room

  private:
    enum class State : u8 { Version, Security, Response, Init, Running };
    using Take = std::size_t (VncClient::*)(std::span<const u8> input);

    void ready();
    void receive();
    void flush();
    bool receive_into(std::vector<u8>& input);
    bool sending() const { return !output_.empty() || !web_output_.empty(); }
    void hang_up();
    void finish(const std::string& reason); // says so, then hangs up

    // Each takes one message from the start of the input: its length, or 0 when it is not all there.
    std::size_t take_version(std::span<const u8> input);
    std::size_t take_security(std::span<const u8> input);
    std::size_t take_response(std::span<const u8> input);
    std::size_t take_init(std::span<const u8> input);
    std::size_t take_message(std::span<const u8> input);
    void offer_security();
    void accept();
    void set_encodings(std::span<const u8> list);
    void key_event(bool down, u32 symbol);
    void press(hw::KeyCode code, bool down);
    void pointer_event(u8 buttons, u32 x, u32 y);
    bool point(u32 x, u32 y, int wheel, unsigned held);

    std::vector<rfb::Rect> new_parts();
    void send_rect(const rfb::Rect& rect);
    void begin_rect(const rfb::Rect& rect, i32 encoding);

    int fd_;
    const VncScreen& screen_;
    Waker& waker_;
    std::vector<u8> input_, output_;
    std::optional<WebSocket> web_;
    std::vector<u8> web_input_, web_output_; // with one, what goes over the line
    std::size_t skip_ = 0;                   // bytes of a message that nobody wants
    State state_ = State::Version;
    unsigned version_ = 8; // of RFB 3
    bool closing_ = false; // once the output is gone
    std::array<u8, 16> challenge_{};
    std::array<bool, hw::key_count> held_{};
    bool added_shift_ = false;
    u32 x_ = 0, y_ = 0; // of the pointer
    bool pointer_known_ = false;
    u8 buttons_ = 0;

    rfb::PixelFormat format_;
    bool takes_zlib_ = false, takes_sizes_ = false;
    struct ZlibEnd {
        void operator()(z_stream* stream) const;
    };
    std::unique_ptr<z_stream, ZlibEnd> zlib_; // one for the whole connection
    bool requested_ = false;
    bool size_changed_ = false;
    u32 width_ = 0, height_ = 0;  // as the viewer knows them
    std::vector<bool> new_tiles_; // of the picture, row by row
};

} // namespace dragoman::runtime
