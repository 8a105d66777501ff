// Result<T>: a value, or one line of text that says what went wrong (what, where, what was expected).
#pragma once

#include "base/assert.h"

#include <string>
#include <utility>
#include <variant>

namespace dragoman {

struct Error {
    std::string message; // one line, without a final newline
};

template <class T> class [[nodiscard]] Result {
  public:
    Result(T value) : v_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : v_(std::in_place_index<1>, std::move(error)) {}

    explicit operator bool() const { return v_.index() == 0; }
    T& value() {
        DRAGOMAN_ASSERT(v_.index() == 0);
        return std::get<0>(v_);
    }
    const T& value() const {
        DRAGOMAN_ASSERT(v_.index() == 0);
        return std::get<0>(v_);
    }
    T& operator*() { return value(); }
    T* operator->() { return &value(); }
    const Error& error() const {
        DRAGOMAN_ASSERT(v_.index() == 1);
        return std::get<1>(v_);
    }

  private:
    std::variant<T, Error> v_;
};

struct Ok {};
using Status = Result<Ok>;

} // namespace dragoman
