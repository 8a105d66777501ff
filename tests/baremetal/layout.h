// Where everything lies in the memory of a bare-metal test, for the executor in C and in assembly; manual.py has the
// same numbers for the cases. All below 64 KiB is reached from 16-bit code too, by segments of base 0.
#pragma once

#define GDT 0x1000      // 0x300 bytes
#define LDT 0x1400      // 0x40 bytes
#define IDT 0x2000      // also of 16-byte gates
#define TSS 0x3000      // with an I/O permission bitmap of 8 KiB
#define TSS_BYTES 0x2069
#define TSS_DF 0x5100   // the task that gets #DF outside long mode
#define LOW16 0x6000    // stubs of real mode
#define ENTRY 0x7000    // struct Entry
#define CODE 0x8000     // the code under test; continues at 0x9000
#define DATA 0xa000     // two pages of data
#define LANDING 0xc000  // INT3s, for transfers to arrive at
#define STACK2 0xd400
#define STACK1 0xd800
#define STACK0 0xdf00   // the tops of the stacks of code under test
#define STACK3 0xef00
#define STACK_HANDLER 0xf800
#define STACK_DF 0xfc00
#define TABLES 0x20000  // page tables
#define STATE 0x100000  // the executor's variables
#define IMAGE 0x200000  // the executor's code, and the cases
#define APIC_WINDOW 0x3ff000 // the local APIC's page under every kind of paging

// Selectors. Those for a ring are followed by the ones for the higher rings.
#define SEL_CODE 0x08   // the executor's own
#define SEL_DATA 0x10
#define SEL_CODE32 0x18
#define SEL_DATA32 0x38
#define SEL_CODE16 0x58
#define SEL_DATA16 0x78
#define SEL_CODE64 0x98
#define SEL_TSS 0xb8
#define SEL_LDT 0xc8
#define SEL_TSS_DF 0xd8
#define GDT_LIMIT 0x2ff // 0x100 and up are the cases' own

// Modes of a case.
#define MODE_REAL 0
#define MODE_V86 1
#define MODE_PM16 2
#define MODE_PM32 3 // flat, without paging
#define MODE_PG32 4 // 32-bit paging
#define MODE_PAE 5
#define MODE_C16 6  // compatibility mode, 16-bit code
#define MODE_C32 7
#define MODE_L64 8

// Fields of struct Entry, from ENTRY.
#define E_GPR 0     // 16 of 8 bytes, in the order of the encoding
#define E_ESP 128   // where the frame for IRET is
#define E_SS 136    // and its segment
#define E_DS 140
#define E_ES 144
#define E_FS 148
#define E_GS 152
#define E_CR0 156 // real mode: what CR0 is to be
