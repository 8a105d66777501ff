// What ACPI is told about the board (ACPI 6.4, 19), for the C preprocessor and then iasl. acpi_tables.cpp writes the figures that depend on the
// machine, MBAS and PSTA.
DefinitionBlock ("", "DSDT", 2, "DRGMAN", "DRAGOMAN", 1)
{
    Name (PSTA, 0x80000000) // _STA of the panic device
    Name (HSTA, 0x80000000) // of the HPET
    Name (MBAS, 0xe0000000) // first address of the PCI memory window, over the RAM below 4 GiB

    Scope (\_SB)
    {
        Device (CPU0)
        {
            Name (_HID, "ACPI0007")
            Name (_UID, 0)
        }

        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_BBN, 0)

            Name (CRES, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0, 0x0000, 0x00ff, 0, 0x0100)
                IO (Decode16, 0x0cf8, 0x0cf8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0x0000, 0x0cf7, 0, 0x0cf8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0x0d00, 0xffff, 0, 0xf300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0, 0x000a0000, 0x000bffff, 0, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0xe0000000, 0xfebfffff, 0, 0x1ec00000,,, PMEM)
            })
            Method (_CRS, 0, Serialized)
            {
                CreateDWordField (CRES, \_SB.PCI0.PMEM._MIN, PMIN)
                CreateDWordField (CRES, \_SB.PCI0.PMEM._MAX, PMAX)
                CreateDWordField (CRES, \_SB.PCI0.PMEM._LEN, PLEN)
                Store (\MBAS, PMIN)
                Store (PMAX - PMIN + 1, PLEN)
                Return (CRES)
            }

            // INTA#..INTD# (0..3) of a slot reach PIRQA#..D# by (pin + slot - 1) mod 4. The power management
            // function's INTA# (slot 1) is the SCI.
            Method (_PRT, 0, Serialized)
            {
                Local0 = Package (128) {}
                Local1 = 0
                While (Local1 < 128)
                {
                    Local2 = Local1 >> 2 // slot
                    Local3 = (Local1 + Local2 + 3) & 3
                    Switch (ToInteger (Local3))
                    {
                        Case (0) { Local4 = Package (4) { 0, 0, LNKA, 0 } }
                        Case (1) { Local4 = Package (4) { 0, 0, LNKB, 0 } }
                        Case (2) { Local4 = Package (4) { 0, 0, LNKC, 0 } }
                        Case (3) { Local4 = Package (4) { 0, 0, LNKD, 0 } }
                    }
                    If (Local1 == 4) { Local4 = Package (4) { 0, 0, LNKS, 0 } }
                    Local4 [0] = (Local2 << 16) | 0xffff
                    Local4 [1] = Local1 & 3
                    Local0 [Local1] = Local4
                    Local1 ++
                }
                Return (Local0)
            }

            // Slots for cards (hw/pci_hotplug.h).
            OperationRegion (HPRG, SystemIO, 0xae00, 0x10)
            Field (HPRG, DWordAcc, NoLock, WriteAsZeros)
            {
                HPIN, 32, // new card
                HPRM, 32, // asked for
                HPEJ, 32 // eject
            }
            Mutex (HPMX, 0)
#define EACH_SLOT(DO) \
    DO (2) DO (3) DO (4) DO (5) DO (6) DO (7) DO (8) DO (9) DO (10) DO (11) DO (12) DO (13) DO (14) DO (15) DO (16) DO (17) \
    DO (18) DO (19) DO (20) DO (21) DO (22) DO (23) DO (24) DO (25) DO (26) DO (27) DO (28) DO (29) DO (30) DO (31)
#define SLOT(n) \
    Device (SL##n) \
    { \
        Name (_ADR, n << 16) \
        Name (_SUN, n) \
        Method (_EJ0, 1, NotSerialized) { HPEJ = 1 << n } \
    }
#define NOTIFY_SLOT(n) If (Arg0 & (1 << n)) { Notify (SL##n, Arg1) }
            EACH_SLOT (SLOT)
            Method (TELL, 2, NotSerialized) { EACH_SLOT (NOTIFY_SLOT) } // each slot of a mask, of what happened

            Device (ISA) // 82371SB, function 0
            {
                Name (_ADR, 0x00010000)
                OperationRegion (PIRQ, PCI_Config, 0x60, 4)
                Field (PIRQ, ByteAcc, NoLock, Preserve)
                {
                    PRQA, 8,
                    PRQB, 8,
                    PRQC, 8,
                    PRQD, 8
                }

                Device (PIC)
                {
                    Name (_HID, EisaId ("PNP0000"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0020, 0x0020, 1, 2)
                        IO (Decode16, 0x00a0, 0x00a0, 1, 2)
                        IO (Decode16, 0x04d0, 0x04d0, 1, 2)
                        IRQNoFlags () { 2 }
                    })
                }
                Device (DMAC)
                {
                    Name (_HID, EisaId ("PNP0200"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0000, 0x0000, 1, 0x10)
                        IO (Decode16, 0x0081, 0x0081, 1, 0x0f)
                        IO (Decode16, 0x00c0, 0x00c0, 1, 0x20)
                        DMA (Compatibility, NotBusMaster, Transfer8_16) { 4 }
                    })
                }
                Device (TMR)
                {
                    Name (_HID, EisaId ("PNP0100"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0040, 0x0040, 1, 4)
                        IRQNoFlags () { 0 }
                    })
                }
                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 1, 4)
                        IRQNoFlags () { 8 }
                    })
                }
                Device (SPKR)
                {
                    Name (_HID, EisaId ("PNP0800"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0061, 0x0061, 1, 1)
                    })
                }
                Device (FPU)
                {
                    Name (_HID, EisaId ("PNP0C04"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x00f0, 0x00f0, 1, 1)
                        IRQNoFlags () { 13 }
                    })
                }
                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0060, 0x0060, 1, 1)
                        IO (Decode16, 0x0064, 0x0064, 1, 1)
                        IRQNoFlags () { 1 }
                    })
                }
                Device (MOU)
                {
                    Name (_HID, EisaId ("PNP0F13"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IRQNoFlags () { 12 }
                    })
                }
                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 1)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03f8, 0x03f8, 0, 8)
                        IRQNoFlags () { 4 }
                    })
                }
                Device (COM2)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 2)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x02f8, 0x02f8, 0, 8)
                        IRQNoFlags () { 3 }
                    })
                }
                Device (PEVT)
                {
                    Name (_HID, "QEMU0001")
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0505, 0x0505, 1, 1)
                    })
                    Method (_STA, 0, NotSerialized) { Return (\PSTA) }
                }
                Device (MBRD) // ports of the board that no driver may take for free
                {
                    Name (_HID, EisaId ("PNP0C02"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0080, 0x0080, 1, 1)
                        IO (Decode16, 0x0092, 0x0092, 1, 1)
                        IO (Decode16, 0x00b2, 0x00b2, 1, 2)
                        IO (Decode16, 0x0510, 0x0510, 1, 12)
                        IO (Decode16, 0x0600, 0x0600, 1, 0x40)
                        IO (Decode16, 0x0700, 0x0700, 1, 0x10)
                        IO (Decode16, 0xae00, 0xae00, 1, 0x10)
                        IO (Decode16, 0xafe0, 0xafe0, 1, 4)
                    })
                }
            }
        }

        Device (HPET)
        {
            Name (_HID, EisaId ("PNP0103"))
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadOnly, 0xfed00000, 0x00000400)
            })
            Method (_STA, 0, NotSerialized) { Return (\HSTA) }
        }

        // Link devices: PIRQRC[A:D] of the 82371SB. Bit 7: not routed; bits 3:0: the ISA IRQ.
        Name (PRSS, ResourceTemplate ()
        {
            Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 }
        })
        Name (CRSS, ResourceTemplate ()
        {
            Interrupt (ResourceConsumer, Level, ActiveHigh, Shared,,, LIRQ) { 0 }
        })
        Method (LSTA, 1, NotSerialized) // _STA by the register's value
        {
            If (Arg0 & 0x80) { Return (0x09) }
            Return (0x0b)
        }
        Method (LCRS, 1, Serialized) // _CRS
        {
            CreateDWordField (CRSS, \_SB.LIRQ._INT, IRQV)
            If (Arg0 & 0x80) { IRQV = 0 } Else { IRQV = Arg0 & 0x0f }
            Return (CRSS)
        }
        Method (LSRS, 1, NotSerialized) // the register's value for what _SRS is given
        {
            CreateDWordField (Arg0, 0x05, IRQV)
            Return (IRQV & 0x0f)
        }

        Device (LNKA)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 1)
            Method (_STA) { Return (LSTA (\_SB.PCI0.ISA.PRQA)) }
            Method (_PRS) { Return (PRSS) }
            Method (_CRS) { Return (LCRS (\_SB.PCI0.ISA.PRQA)) }
            Method (_DIS) { \_SB.PCI0.ISA.PRQA |= 0x80 }
            Method (_SRS, 1) { \_SB.PCI0.ISA.PRQA = LSRS (Arg0) }
        }
        Device (LNKB)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 2)
            Method (_STA) { Return (LSTA (\_SB.PCI0.ISA.PRQB)) }
            Method (_PRS) { Return (PRSS) }
            Method (_CRS) { Return (LCRS (\_SB.PCI0.ISA.PRQB)) }
            Method (_DIS) { \_SB.PCI0.ISA.PRQB |= 0x80 }
            Method (_SRS, 1) { \_SB.PCI0.ISA.PRQB = LSRS (Arg0) }
        }
        Device (LNKC)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 3)
            Method (_STA) { Return (LSTA (\_SB.PCI0.ISA.PRQC)) }
            Method (_PRS) { Return (PRSS) }
            Method (_CRS) { Return (LCRS (\_SB.PCI0.ISA.PRQC)) }
            Method (_DIS) { \_SB.PCI0.ISA.PRQC |= 0x80 }
            Method (_SRS, 1) { \_SB.PCI0.ISA.PRQC = LSRS (Arg0) }
        }
        Device (LNKD)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 4)
            Method (_STA) { Return (LSTA (\_SB.PCI0.ISA.PRQD)) }
            Method (_PRS) { Return (PRSS) }
            Method (_CRS) { Return (LCRS (\_SB.PCI0.ISA.PRQD)) }
            Method (_DIS) { \_SB.PCI0.ISA.PRQD |= 0x80 }
            Method (_SRS, 1) { \_SB.PCI0.ISA.PRQD = LSRS (Arg0) }
        }
        Device (LNKS) // the SCI: ISA IRQ 9 by wire
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 5)
            Name (_PRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 9 }
            })
            Method (_STA) { Return (0x0b) }
            Method (_CRS) { Return (_PRS) }
            Method (_DIS) { }
            Method (_SRS, 1) { }
        }
    }

    Scope (\_GPE)
    {
        Method (_E01, 0, NotSerialized)
        {
            Acquire (\_SB.PCI0.HPMX, 0xffff)
            \_SB.PCI0.TELL (\_SB.PCI0.HPIN, 1) // look what is there
            \_SB.PCI0.TELL (\_SB.PCI0.HPRM, 3) // the user wants it back
            Release (\_SB.PCI0.HPMX)
        }
    }

    Name (\_S5, Package (4) { 0, 0, 0, 0 }) // SUS_TYP 0: soft off
}
