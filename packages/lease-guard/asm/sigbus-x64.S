# The SIGBUS handler, x86-64: void handler(int signal, siginfo_t *information, void *context).
# Position-independent, without a stack frame, a libc call or an errno. Assembled and compared by a test:
#   as --64 -o handler.o sigbus-x64.S && objcopy -O binary handler.o handler.bin
#
# The table, whose address replaces the last eight bytes (see table.ts):
#   0 magic   8 previous handler   16 its flags   24 rows in use   64 the first row
# A row, 64 bytes:
#   0 start   8 end, 0: free   16 page size   24 protection   32 traps   40 last page   48 claimed   56 flags, 1: tail

        .intel_syntax noprefix
        .text
handler:
        mov     r8, [rsi + 16]                  # si_addr
        mov     r9, [rip + table]
        mov     rcx, [r9 + 24]                  # rows in use
        lea     r10, [r9 + 64]
next_row:
        test    rcx, rcx
        jz      foreign
        mov     rax, [r10 + 8]                  # end, exclusive; no address is below that of a free row
        cmp     r8, rax
        jae     skip
        cmp     r8, [r10]
        jae     found
skip:
        add     r10, 64
        dec     rcx
        jmp     next_row

found:
        push    r10
        mov     rsi, [r10 + 16]                 # length: a page
        mov     rdi, rsi
        neg     rdi
        and     rdi, r8                         # address: that of the page
        test    byte ptr [r10 + 56], 1
        jz      replace
        mov     rsi, rax                        # or everything from there to the end
        sub     rsi, rdi
replace:
        mov     rdx, [r10 + 24]
        mov     r10d, 0x32                      # MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
        mov     r8, -1
        xor     r9d, r9d
        mov     eax, 9                          # mmap
        syscall
        pop     r10
        cmp     rax, -4096
        ja      reset                           # no memory: the fault comes again, and ends the process
        mov     [r10 + 40], rdi
        lock inc qword ptr [r10 + 32]
        ret

foreign:
        mov     rax, [r9 + 8]
        cmp     rax, 1                          # SIG_DFL 0, SIG_IGN 1
        ja      chain
        mov     ecx, [rsi + 8]                  # si_code
        test    ecx, ecx
        jg      reset                           # a fault: ignored or not, it comes again
        cmp     rax, 1
        je      done                            # sent by somebody, and ignored
        call    reset
        mov     eax, 39                         # getpid
        syscall
        mov     edi, eax
        mov     eax, 186                        # gettid
        syscall
        mov     esi, eax
        mov     edx, 7
        mov     eax, 234                        # tgkill: blocked until the handler returns
        syscall
done:
        ret

chain:
        jmp     rax

reset:                                          # rt_sigaction(SIGBUS, { SIG_DFL }, NULL, 8)
        xor     edx, edx
        push    rdx
        push    rdx
        push    rdx
        push    rdx
        mov     rsi, rsp
        mov     edi, 7
        mov     r10d, 8
        mov     eax, 13
        syscall
        add     rsp, 32
        ret

        .balign 8
table:
        .quad   0
