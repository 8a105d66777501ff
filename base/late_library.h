// A shared library that few runs need: it, and all that it needs itself, is found and relocated when somebody
// asks for it, not at each start. SDL with its fifty libraries takes 5 ms of those.
#pragma once

#include <string>

namespace dragoman {

class LateLibrary {
  public:
    // By its soname, which names the ABI that the headers declare. Stays loaded for good.
    explicit LateLibrary(const char* soname);

    // Becomes a pointer to whatever function is asked for; the header knows its type.
    class Function {
      public:
        template <class F> operator F*() const { return reinterpret_cast<F*>(at_); }

      private:
        friend LateLibrary;
        explicit Function(void* at) : at_(at) {}
        void* at_; // null: missing() says why
    };
    Function function(const char* name);

    // The dynamic linker's words on what is not there, the library or the first such function; empty: all is.
    const std::string& missing() const { return missing_; }

  private:
    void* handle_;
    std::string missing_;
};

} // namespace dragoman
