// The SIGBUS handler, arm64: void handler(int signal, siginfo_t *information, void *context).
// Position-independent, without a stack frame, a libc call or an errno. Assembled and compared by a test:
//   aarch64-linux-gnu-as -o handler.o sigbus-arm64.S && aarch64-linux-gnu-objcopy -O binary handler.o handler.bin
//
// The table, whose address replaces the last eight bytes, is that of sigbus-x64.S.

        .text
handler:
        ldr     x3, [x1, #16]                   // si_addr
        ldr     x4, table
        ldr     x5, [x4, #24]                   // rows in use
        add     x6, x4, #64
next_row:
        cbz     x5, foreign
        add     x7, x6, #8
        ldar    x8, [x7]                        // end, exclusive; no address is below that of a free row
        cmp     x3, x8
        b.hs    skip
        ldr     x9, [x6]
        cmp     x3, x9
        b.hs    found
skip:
        add     x6, x6, #64
        sub     x5, x5, #1
        b       next_row

found:
        ldr     x1, [x6, #16]                   // length: a page
        neg     x10, x1
        and     x0, x3, x10                     // address: that of the page
        ldr     x11, [x6, #56]
        tbz     x11, #0, replace
        sub     x1, x8, x0                      // or everything from there to the end
replace:
        ldr     x2, [x6, #24]
        mov     x3, #0x32                       // MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
        mov     x4, #-1
        mov     x5, #0
        mov     x8, #222                        // mmap
        svc     #0
        cmn     x0, #1, lsl #12
        b.hi    reset                           // no memory: the fault comes again, and ends the process
        str     x0, [x6, #40]
        add     x7, x6, #32
count:
        ldaxr   x9, [x7]
        add     x9, x9, #1
        stlxr   w10, x9, [x7]
        cbnz    w10, count
        ret

foreign:
        ldr     x9, [x4, #8]
        cmp     x9, #1                          // SIG_DFL 0, SIG_IGN 1
        b.hi    chain
        ldr     w10, [x1, #8]                   // si_code
        cmp     w10, #0
        b.gt    reset                           // a fault: ignored or not, it comes again
        cbnz    x9, done                        // sent by somebody, and ignored
        mov     x12, x30
        bl      reset
        mov     x30, x12
        mov     x8, #172                        // getpid
        svc     #0
        mov     x11, x0
        mov     x8, #178                        // gettid
        svc     #0
        mov     x1, x0
        mov     x0, x11
        mov     x2, #7
        mov     x8, #131                        // tgkill: blocked until the handler returns
        svc     #0
done:
        ret

chain:
        br      x9

reset:                                          // rt_sigaction(SIGBUS, { SIG_DFL }, NULL, 8)
        sub     sp, sp, #32
        stp     xzr, xzr, [sp]
        stp     xzr, xzr, [sp, #16]
        mov     x1, sp
        mov     x0, #7
        mov     x2, #0
        mov     x3, #8
        mov     x8, #134
        svc     #0
        add     sp, sp, #32
        ret

        .balign 8
table:
        .quad   0
