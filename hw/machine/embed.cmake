# Writes the bytes of INPUT as a C++ function FUNCTION (declared in HEADER) into OUTPUT.
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"${HEADER}\"

namespace dragoman::hw {

std::span<const u8> ${FUNCTION}() {
    static constexpr u8 bytes[] = {
    ${bytes}
    };
    return bytes;
}

} // namespace dragoman::hw
")
