// The SIGBUS handler, arm64: void handler(int signal, siginfo_t *information, void *context).
// Position-independent, without a stack frame, a libc call or an errno. Assembled and compared by a test:
//   aarch64-linux-gnu-as -o handler.o sigbus-arm64.S && aarch64-linux-gnu-objcopy -O binary handler.o handler.bin
//
// The table, whose address replaces the last eight bytes, is that of sigbus-x64.S.

        .text
handler:
        ldr     x3, [x1, #16]                   // si_addr
        ldr     x4, table
        ldr     w5, [x1, #8]                    // si_code
        cmp     w5, #0
        b.le    foreign                         // sent by a process: there is no address
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
        add     x6, x6, #128
        sub     x5, x5, #1
        b       next_row

found:
        mov     x12, x6                         // the row
        mov     x13, x8                         // its end
        ldr     x14, [x12, #16]                 // bytes of a page
        neg     x10, x14
        and     x15, x3, x10                    // the page
        ldrsw   x16, [x12, #64]
        tbnz    x16, #63, truncated             // no file to ask
        sub     sp, sp, #128
        mov     x0, x16
        mov     x1, sp
        mov     x8, #80                         // fstat
        svc     #0
        ldr     x9, [sp, #48]                   // st_size
        add     sp, sp, #128
        tbnz    x0, #63, truncated
        ldr     x10, [x12]
        ldr     x17, [x12, #72]
        sub     x10, x15, x10
        add     x17, x17, x10                   // where in the file the page is
        cmp     x17, x9
        b.lt    inside

truncated:                                      // zeros from the page on
        mov     x1, x14                         // length: a page
        ldr     x11, [x12, #56]
        tbz     x11, #0, beyond
        sub     x1, x13, x15                    // or everything from there to the end
beyond:
        mov     x11, x30
        bl      zeros
        mov     x30, x11
        b.hi    reset                           // no memory: the fault comes again, and ends the process
        add     x7, x12, #32
        b       count

inside:                                         // the kernel has no page: a full filesystem, a bad disk
        mov     x0, #0
        mov     x1, x14
        mov     x2, #3                          // PROT_READ | PROT_WRITE
        mov     x3, #0x22                       // MAP_PRIVATE | MAP_ANONYMOUS
        mov     x4, #-1
        mov     x5, #0
        mov     x8, #222                        // mmap: a page to read it into, which may succeed
        svc     #0
        cmn     x0, #1, lsl #12
        b.hi    reset
        mov     x13, x0
read:
        mov     x0, x16
        mov     x1, x13
        mov     x2, x14
        mov     x3, x17
        mov     x8, #67                         // pread64
        svc     #0
        cmn     x0, #4                          // EINTR
        b.eq    read
        tbz     x0, #63, look
        add     x7, x12, #88
unreadable:
        ldaxr   x9, [x7]
        add     x9, x9, #1
        stlxr   w10, x9, [x7]
        cbnz    w10, unreadable
look:
        mov     x9, x13
        add     x10, x13, x14
next_word:
        ldr     x11, [x9], #8
        cbnz    x11, move
        cmp     x9, x10
        b.lo    next_word
        mov     x0, x13
        mov     x1, x14
        mov     x8, #215                        // munmap; zeros in place merge with their neighbours, and take no memory
        svc     #0
        mov     x1, x14
        mov     x11, x30
        bl      zeros
        mov     x30, x11
        b.hi    reset
        b       copied
move:
        mov     x0, x13
        mov     x1, x14
        mov     x2, x14
        mov     x3, #3                          // MREMAP_MAYMOVE | MREMAP_FIXED
        mov     x4, x15
        mov     x8, #216                        // mremap
        svc     #0
        cmn     x0, #1, lsl #12
        b.hi    reset
        mov     x0, x15
        mov     x1, x14
        ldr     x2, [x12, #24]
        mov     x8, #226                        // mprotect
        svc     #0
copied:
        add     x7, x12, #80
count:
        str     x15, [x12, #40]
counting:
        ldaxr   x9, [x7]
        add     x9, x9, #1
        stlxr   w10, x9, [x7]
        cbnz    w10, counting
        ret

zeros:                                          // x1 bytes in the place of what is at x15; higher: failed
        mov     x0, x15
        ldr     x2, [x12, #24]
        mov     x3, #0x32                       // MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
        mov     x4, #-1
        mov     x5, #0
        mov     x8, #222                        // mmap
        svc     #0
        cmn     x0, #1, lsl #12
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
