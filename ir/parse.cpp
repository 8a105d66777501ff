#include "ir/parse.h"

#include "ir/state_names.h"
#include "ir/text.h"
#include "ir/vec.h"
#include "ir/vex.h"
#include "ir/x87.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <iterator>
#include <optional>

namespace dragoman::ir {

namespace {

struct Failure {
    std::string what;
};
[[noreturn]] void fail(std::string what) {
    throw Failure{std::move(what)};
}

bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.';
}

// One line, read from the left.
class Line {
  public:
    explicit Line(std::string_view text) : rest_(text.substr(0, text.find(';'))) {}

    void skip() {
        while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_.front())))
            rest_.remove_prefix(1);
    }
    bool at_end() {
        skip();
        return rest_.empty();
    }
    char peek() {
        skip();
        return rest_.empty() ? '\0' : rest_.front();
    }
    bool take(char c) {
        if (peek() != c) return false;
        rest_.remove_prefix(1);
        return true;
    }
    void expect(char c) {
        if (!take(c)) fail(std::string("expected '") + c + "' at \"" + std::string(rest_) + "\"");
    }
    std::string_view word() {
        skip();
        std::size_t n = 0;
        while (n < rest_.size() && is_word(rest_[n]))
            ++n;
        if (n == 0) fail("expected a word at \"" + std::string(rest_) + "\"");
        const std::string_view w = rest_.substr(0, n);
        rest_.remove_prefix(n);
        return w;
    }
    std::string_view peek_word() {
        const std::string_view saved = rest_;
        skip();
        const std::string_view w = rest_.empty() || !is_word(rest_.front()) ? std::string_view{} : word();
        rest_ = saved;
        return w;
    }
    bool take_word(std::string_view w) {
        if (peek_word() != w) return false;
        word();
        return true;
    }
    bool at_number() {
        const char c = peek();
        return std::isdigit(static_cast<unsigned char>(c)) ||
               (c == '-' && rest_.size() > 1 && std::isdigit(static_cast<unsigned char>(rest_[1])));
    }
    i64 number() {
        const bool negative = take('-');
        std::string_view w = word();
        const std::string_view whole = w;
        const int base = w.starts_with("0x") ? 16 : 10;
        if (base == 16) w.remove_prefix(2);
        u64 v = 0;
        const auto [end, error] = std::from_chars(w.data(), w.data() + w.size(), v, base);
        if (error != std::errc{} || end != w.data() + w.size()) fail("not a number: " + std::string(whole));
        return i64(negative ? u64{0} - v : v);
    }
    std::string_view rest() const { return rest_; }

  private:
    std::string_view rest_;
};

unsigned small_number(std::string_view w) {
    unsigned v = 0;
    const auto [end, error] = std::from_chars(w.data(), w.data() + w.size(), v);
    if (error != std::errc{} || end != w.data() + w.size()) fail("not a size: " + std::string(w));
    return v;
}

std::string_view cut(std::string_view& s) { // up to the next dot
    const std::size_t dot = s.find('.');
    const std::string_view part = s.substr(0, dot);
    s = dot == std::string_view::npos ? std::string_view{} : s.substr(dot + 1);
    return part;
}

class InstParser {
  public:
    InstParser(Line& line, unsigned mode_bits, const FindHelper& find_helper)
        : line_(line), mode_bits_(mode_bits), find_helper_(find_helper) {}

    Inst run() {
        i_.lock = line_.take_word("lock");
        mnemonic(line_.word());
        operands();
        live_flags();
        if (!line_.at_end()) fail("left over: \"" + std::string(line_.rest()) + "\"");
        return i_;
    }

  private:
    void mnemonic(std::string_view m) {
        const std::string_view name = cut(m);
        i_.op = text::find_op(name);
        if (i_.op == Op::Count) fail("no such op: " + std::string(name));
        if (i_.op == Op::Setcc) i_.size = 1;
        if (i_.op == Op::Rmw) {
            const std::string_view sub = cut(m);
            i_.sub = text::find_op(sub);
            if (i_.sub == Op::Count) fail("no such op: " + std::string(sub));
        }
        if (i_.op == Op::Vec) {
            const std::string_view vec = cut(m);
            const int row = find_vec_op(vec);
            if (row < 0) fail("no such vector instruction: " + std::string(vec));
            i_.vec = u16(row);
            if (!m.empty()) i_.size = u8(small_number(cut(m)));
        }
        if (i_.op == Op::Vex) {
            const std::string_view vex = cut(m);
            const int row = find_vex_op(vex);
            if (row < 0) fail("no such VEX instruction: " + std::string(vex));
            i_.vec = u16(row);
            i_.size = u8(small_number(cut(m)));
            if (!m.empty()) i_.size2 = u8(small_number(cut(m)));
        }
        if (text::has_cond(i_.op)) {
            const std::string_view cond = cut(m);
            unsigned n = 0;
            while (n < 16 && text::cond_names[n] != cond)
                ++n;
            if (n == 16) fail("no such condition: " + std::string(cond));
            i_.cond = Cond(n);
        }
        if (text::has_size(i_.op)) i_.size = u8(small_number(cut(m)));
        if (text::has_size2(i_.op)) i_.size2 = u8(small_number(cut(m)));
        if (!m.empty()) fail("left over in the op's name: ." + std::string(m));
    }

    void next() { // the comma between operands
        if (!first_) line_.expect(',');
        first_ = false;
    }
    bool more() { return line_.peek() == ',' || (first_ && !line_.at_end()); }
    Ref ref(i64& imm) {
        next();
        return bare_ref(imm);
    }
    Ref bare_ref(i64& imm) {
        if (line_.at_number()) {
            imm = line_.number();
            from_pc();
            return Ref::imm();
        }
        if (line_.take('-')) return Ref::none();
        return reg(line_.word());
    }
    void from_pc() {
        if (!line_.take('/')) return;
        if (!line_.take_word("pc")) fail("expected /pc");
        i_.from_pc = true;
    }
    static Ref reg(std::string_view name) {
        const Ref r = text::find_ref(name);
        if (r.is_none()) fail("no such register: " + std::string(name));
        return r;
    }
    Ref ref() {
        i64 ignored;
        const Ref r = ref(ignored);
        if (r.is_imm()) fail("an immediate cannot stand here");
        return r;
    }
    i64 number() {
        next();
        return line_.number();
    }

    void memory() {
        next();
        Address& m = i_.mem;
        m.size = u8(mode_bits_ / 8);
        m.linear_size = mode_bits_ == 64 ? 8 : 4;
        if (line_.peek() != '[') {
            const std::string_view seg = line_.word();
            unsigned n = 0;
            while (n < 6 && text::seg_names[n] != seg)
                ++n;
            if (n == 6) fail("no such segment: " + std::string(seg));
            m.seg = Seg(n);
            line_.expect(':');
        }
        line_.expect('[');
        bool minus = false;
        do {
            if (line_.at_number()) {
                const i64 v = line_.number();
                m.disp = minus ? i64(u64{0} - u64(v)) : v;
            } else {
                const Ref r = reg(line_.word());
                if (line_.take('*')) {
                    const unsigned factor = small_number(line_.word());
                    if (factor != 1 && factor != 2 && factor != 4 && factor != 8)
                        fail("scale is 1, 2, 4 or 8");
                    m.index = r;
                    m.scale = u8(std::countr_zero(factor));
                } else if (m.base.is_none() && m.index.is_none()) {
                    m.base = r;
                } else {
                    m.index = r;
                }
            }
            minus = line_.peek() == '-';
        } while (line_.take('+') || line_.take('-'));
        line_.expect(']');
        while (line_.take('/')) {
            const std::string_view w = line_.word();
            if (w == "pc") {
                m.from_pc = true;
                continue;
            }
            const unsigned n = small_number(w.substr(1));
            if (w.front() == 'a')
                m.size = u8(n);
            else if (w.front() == 'l')
                m.linear_size = u8(n);
            else
                fail("expected /a, /l or /pc");
        }
    }
    void state() {
        next();
        if (line_.take('[')) {
            if (!line_.take_word("state")) fail("expected state");
            line_.expect('+');
            i_.imm = line_.number();
            line_.expect(']');
            return;
        }
        const std::string_view name = line_.word();
        i_.imm = state_offset(name);
        if (i_.imm < 0) fail("no such field: " + std::string(name));
    }

    void operands() {
        switch (info(i_.op).form) {
        case Form::None: break;
        case Form::D: i_.d = ref(); break;
        case Form::A: i_.a = ref(i_.imm); break;
        case Form::DA: i_.d = ref(), i_.a = ref(i_.imm); break;
        case Form::AB: i_.a = ref(i_.imm), i_.b = ref(i_.imm); break;
        case Form::DAB: i_.d = ref(), i_.a = ref(i_.imm), i_.b = ref(i_.imm); break;
        case Form::DABC: i_.d = ref(), i_.a = ref(i_.imm), i_.b = ref(i_.imm), i_.c = ref(i_.imm); break;
        case Form::DCA: i_.d = ref(), i_.c = ref(), i_.a = ref(i_.imm); break;
        case Form::DM: i_.d = ref(), memory(); break;
        case Form::MA: memory_first(); break;
        case Form::D_Mem: i_.d = ref(), memory(), access(); break;
        case Form::D_Imm: i_.d = ref(), state(); break;
        case Form::A_Imm:
            if (i_.op == Op::StoreState)
                state(), i_.a = ref(i_.imm2);
            else
                i_.a = ref(i_.imm2), i_.imm = number();
            break;
        case Form::Imm: i_.imm = number(); break;
        case Form::Branch:
            if (i_.op == Op::BranchNz) i_.a = ref();
            i_.imm = number(), i_.imm2 = number();
            break;
        case Form::Rmw: fail("not an op of its own"); break;
        case Form::ImmSize: i_.imm = number(); break;
        case Form::Vec: vector(); break;
        case Form::Vex: vex(); break;
        case Form::X87: x87(); break;
        case Form::Call: call(); break;
        }
    }
    void memory_first() {
        const std::string_view w = line_.peek_word();
        if (i_.op == Op::Rmw && !w.empty() && !text::find_ref(w).is_none()) i_.d = ref();
        memory();
        if (i_.op == Op::CheckAlign || i_.op == Op::CheckAc)
            i_.imm = number();
        else if (more())
            i_.a = ref(i_.imm);
        if (i_.op == Op::Rmw && more()) i_.c = ref(i_.imm);
    }
    void access() {
        next();
        const std::string_view w = line_.word();
        for (unsigned n = 0; n < 3; ++n)
            if (text::access_names[n] == w) {
                i_.imm = n;
                return;
            }
        fail("expected read, write or readwrite");
    }
    void vector() {
        if (!more()) return;
        i_.d = ref();
        const VecOp& op = vec_op(i_.vec);
        if (more()) {
            const std::string_view w = line_.rest(); // ", source" or ", imm8"
            const std::size_t start = w.find_first_not_of(", ");
            const bool is_number =
                start != std::string_view::npos && std::isdigit(static_cast<unsigned char>(w[start]));
            if (!is_number)
                source();
            else if (!op.has_imm)
                i_.a = ref(i_.imm);
        }
        if (op.has_imm) i_.imm = number();
    }
    void vex() {
        const VexOp& op = vex_op(i_.vec);
        Ref* const operands[] = {&i_.d, &i_.a, &i_.b, &i_.c};
        for (unsigned n = 0; n < 4; ++n) {
            if (op.operands[n] == VexOperand::None) continue;
            const std::string_view rest = line_.rest();
            const std::size_t start = rest.find_first_not_of(", ");
            const bool is_address =
                start != std::string_view::npos &&
                rest.substr(start, rest.find(',', start) - start).find('[') != std::string_view::npos;
            if (op.operands[n] == VexOperand::Imm)
                i_.imm = number();
            else if (is_address)
                i_.from_memory = true, memory();
            else
                *operands[n] = ref();
        }
        while (line_.take('{')) {
            decorator(line_.word());
            line_.expect('}');
        }
    }
    void decorator(std::string_view w) { // of an EVEX instruction
        const auto names = std::begin(text::rounding_names), end = std::end(text::rounding_names);
        if (w == "z")
            i_.zeroing = true;
        else if (w == "1to")
            i_.broadcast = true;
        else if (const Ref mask = text::find_ref(w); mask.is_opmask())
            i_.mask = mask;
        else if (const auto name = std::find(names + 1, end, w); name != end)
            i_.rounding = Rounding(name - names);
        else
            fail("expected a mask, z, 1to or a rounding mode, not " + std::string(w));
    }
    void source() {
        const std::size_t bracket = line_.rest().find('[');
        if (bracket != std::string_view::npos) {
            i_.from_memory = true;
            memory();
        } else {
            i_.a = ref();
        }
    }
    void find_helper(std::string_view name) {
        i_.helper = find_helper_ ? find_helper_(name) : nullptr;
        if (!i_.helper) fail("no such helper: " + std::string(name));
    }
    void x87() {
        next();
        find_helper(line_.word());
        const std::string_view operands = line_.rest();
        if (operands.find('[') != std::string_view::npos)
            i_.from_memory = true, memory();
        else if (operands.find(',') != operands.rfind(','))
            i_.a = ref();
        i_.imm = number();
        if (i_.from_memory) i_.size = X87Call::unpack(u64(i_.imm)).operand;
    }
    void call() {
        std::string_view name = line_.word();
        if (line_.take('=')) {
            i_.d = reg(name);
            name = line_.word();
        }
        find_helper(name);
        line_.expect('(');
        Ref* const arguments[] = {&i_.a, &i_.b};
        unsigned n = 0;
        while (line_.peek() != ')') {
            next();
            if (line_.take_word("imm")) {
                if (line_.take('=')) {
                    i_.imm = line_.number();
                    from_pc();
                    break;
                }
                if (n < 2) *arguments[n++] = Ref::imm();
                continue;
            }
            if (n >= 2) fail("too many arguments");
            *arguments[n++] = line_.take('-') ? Ref::none() : reg(line_.word());
        }
        line_.expect(')');
    }
    void live_flags() {
        if (!line_.take('!')) return;
        i_.live = kAllFlags & ~flags_written(i_);
        if (line_.take('-')) return;
        for (const char c : line_.word()) {
            bool known = false;
            for (const auto& f : text::flag_letters)
                if (f.letter == c) i_.live |= f.flag, known = true;
            if (!known) fail(std::string("no such flag: ") + c);
        }
    }

    Line& line_;
    const unsigned mode_bits_;
    const FindHelper& find_helper_;
    Inst i_;
    bool first_ = true;
};

// Does the line begin with the offset of a guest instruction: four or more hexadecimal digits and a space?
std::optional<i64> take_offset(std::string_view& whole) {
    const bool negative = whole.starts_with('-');
    std::string_view text = whole.substr(negative);
    std::size_t n = 0;
    while (n < text.size() && std::isxdigit(static_cast<unsigned char>(text[n])))
        ++n;
    if (n < 4 || n > 8 || (n < text.size() && !std::isspace(static_cast<unsigned char>(text[n])))) return {};
    u64 v = 0;
    std::from_chars(text.data(), text.data() + n, v, 16);
    whole = text.substr(n);
    return negative ? -i64(v) : i64(v);
}

void header(Line& line, Block& block, bool& counted) {
    while (!line.at_end()) {
        const std::string_view key = line.word();
        line.expect('=');
        const i64 v = line.number();
        if (key == "pc")
            block.pc = u64(v);
        else if (key == "linear")
            block.linear_pc = u64(v);
        else if (key == "bytes")
            block.guest_bytes = u32(v);
        else if (key == "instructions")
            block.guest_instructions = u32(v), counted = true;
        else if (key == "mode" && (v == 16 || v == 32 || v == 64))
            block.mode_bits = u8(v);
        else if (key == "view")
            block.view = u8(v);
        else if (key == "vectors")
            block.vector_bytes = u8(v);
        else if (key == "unmasked")
            block.simd_unmasked = v != 0;
        else if (key == "follows")
            block.follows = v != 0;
        else
            fail("not a field of a block: " + std::string(key));
    }
}

void parse_line(std::string_view text, Block& block, bool& counted, const FindHelper& find_helper) {
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())))
        text.remove_prefix(1);
    if (Line line(text); line.take_word("block")) return header(line, block, counted);
    if (const std::optional<i64> offset = take_offset(text)) {
        block.insts.push_back({.op = Op::Insn, .imm = *offset});
        if (!counted) ++block.guest_instructions;
    }
    Line line(text);
    if (line.at_end() || line.take_word("nop")) return;
    block.insts.push_back(InstParser(line, block.mode_bits, find_helper).run());
}

} // namespace

Result<Block> parse(std::string_view text, const FindHelper& find_helper) {
    Block block;
    bool counted = false;
    for (unsigned number = 1; !text.empty(); ++number) {
        const std::size_t end = text.find('\n');
        try {
            parse_line(text.substr(0, end), block, counted, find_helper);
        } catch (const Failure& failure) {
            return Error{"line " + std::to_string(number) + ": " + failure.what};
        }
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return block;
}

} // namespace dragoman::ir
