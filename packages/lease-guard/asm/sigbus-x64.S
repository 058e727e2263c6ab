# The SIGBUS handler, x86-64: void handler(int signal, siginfo_t *information, void *context).
# Position-independent, without a stack frame, a libc call or an errno. Assembled and compared by a test:
#   as --64 -o handler.o sigbus-x64.S && objcopy -O binary handler.o handler.bin
#
# The table, whose address replaces the last eight bytes (see trap.ts):
#   0 magic   8 previous handler   16 its flags   24 rows in use   64 the first row
# A row, 128 bytes:
#   0 start   8 end, 0: free   16 page size   24 protection   32 truncations   40 last page   48 claimed   56 flags, 1: tail
#   64 descriptor of the file, -1: none   72 where in it the row starts   80 pages copied   88 of those, not readable

        .intel_syntax noprefix
        .text
handler:
        mov     r8, [rsi + 16]                  # si_addr
        mov     r9, [rip + table]
        mov     ecx, [rsi + 8]                  # si_code
        test    ecx, ecx
        jle     foreign                         # sent by a process: there is no address
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
        sub     r10, -128
        dec     rcx
        jmp     next_row

found:
        push    rbx
        push    rbp
        push    r12
        push    r13
        mov     rbx, r10                        # the row
        mov     rbp, rax                        # its end
        mov     r12, [rbx + 16]
        neg     r12
        and     r12, r8                         # the page
        mov     edi, [rbx + 64]
        test    edi, edi
        js      truncated                       # no file to ask
        sub     rsp, 144
        mov     rsi, rsp
        mov     eax, 5                          # fstat
        syscall
        mov     rcx, [rsp + 48]                 # st_size
        add     rsp, 144
        test    eax, eax
        js      truncated
        mov     r13, r12
        sub     r13, [rbx]
        add     r13, [rbx + 72]                 # where in the file the page is
        cmp     r13, rcx
        jl      inside

truncated:                                      # zeros from the page on
        mov     rsi, [rbx + 16]                 # length: a page
        test    byte ptr [rbx + 56], 1
        jz      beyond
        mov     rsi, rbp                        # or everything from there to the end
        sub     rsi, r12
beyond:
        call    zeros
        ja      no_memory
        mov     [rbx + 40], r12
        lock inc qword ptr [rbx + 32]
        jmp     answered

inside:                                         # the kernel has no page: a full filesystem, a bad disk
        xor     edi, edi
        mov     rsi, [rbx + 16]
        mov     edx, 3                          # PROT_READ | PROT_WRITE
        mov     r10d, 0x22                      # MAP_PRIVATE | MAP_ANONYMOUS
        mov     r8, -1
        xor     r9d, r9d
        mov     eax, 9                          # mmap: a page to read it into, which may succeed
        syscall
        cmp     rax, -4096
        ja      no_memory
        mov     rbp, rax
read:
        mov     edi, [rbx + 64]
        mov     rsi, rbp
        mov     rdx, [rbx + 16]
        mov     r10, r13
        mov     eax, 17                         # pread64
        syscall
        cmp     rax, -4                         # EINTR
        je      read
        test    rax, rax
        jns     look
        lock inc qword ptr [rbx + 88]
look:
        mov     rdi, rbp
        mov     rcx, [rbx + 16]
        shr     rcx, 3
        xor     eax, eax
        repe scasq
        mov     rdi, rbp
        mov     rsi, [rbx + 16]
        jne     move
        mov     eax, 11                         # munmap; zeros in place merge with their neighbours, and take no memory
        syscall
        mov     rsi, [rbx + 16]
        call    zeros
        ja      no_memory
        jmp     copied
move:
        mov     rdx, rsi
        mov     r10d, 3                         # MREMAP_MAYMOVE | MREMAP_FIXED
        mov     r8, r12
        mov     eax, 25                         # mremap
        syscall
        cmp     rax, -4096
        ja      no_memory
        mov     rdi, r12
        mov     rsi, [rbx + 16]
        mov     rdx, [rbx + 24]
        mov     eax, 10                         # mprotect
        syscall
copied:
        mov     [rbx + 40], r12
        lock inc qword ptr [rbx + 80]
answered:
        pop     r13
        pop     r12
        pop     rbp
        pop     rbx
        ret

no_memory:                                      # the fault comes again, and ends the process
        pop     r13
        pop     r12
        pop     rbp
        pop     rbx
        jmp     reset

zeros:                                          # rsi bytes in the place of what is at r12; above: failed
        mov     rdi, r12
        mov     rdx, [rbx + 24]
        mov     r10d, 0x32                      # MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
        mov     r8, -1
        xor     r9d, r9d
        mov     eax, 9                          # mmap
        syscall
        cmp     rax, -4096
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
