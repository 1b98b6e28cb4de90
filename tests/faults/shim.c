/* Loaded into an index run: counts everything it changes below one folder, and at the n-th change kills the process (a
 * write is torn in its middle first) or lets the disk be full from there on.
 *
 * A seccomp filter traps the system calls themselves, for not every layer asks libc: Rust's rustix renames by itself, and
 * stdio, through which NumPy and FAISS write, calls what a preloaded library does not see. One list of write points for all.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { COUNT, KILL, FULL };

static char folder[PATH_MAX];
static long at;
static int mode = COUNT;
static long changes;

/* The one place whose system calls the filter lets through: (number, six arguments), the kernel's own answer. */
long fault_syscall(long number, long a, long b, long c, long d, long e, long f);
extern const char fault_after[];
#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define NUMBER(m) (m).gregs[REG_RAX]
#define ANSWER(m) (m).gregs[REG_RAX]
#define ARGUMENTS(m) \
    {(m).gregs[REG_RDI], (m).gregs[REG_RSI], (m).gregs[REG_RDX], (m).gregs[REG_R10], (m).gregs[REG_R8], (m).gregs[REG_R9]}
__asm__(".text\n.globl fault_syscall\n.type fault_syscall, @function\nfault_syscall:\n"
        "mov %rdi, %rax\nmov %rsi, %rdi\nmov %rdx, %rsi\nmov %rcx, %rdx\nmov %r8, %r10\nmov %r9, %r8\n"
        "mov 8(%rsp), %r9\nsyscall\n.globl fault_after\nfault_after:\nret\n");
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#define NUMBER(m) (m).regs[8]
#define ANSWER(m) (m).regs[0]
#define ARGUMENTS(m) {(m).regs[0], (m).regs[1], (m).regs[2], (m).regs[3], (m).regs[4], (m).regs[5]}
__asm__(".text\n.globl fault_syscall\n.type fault_syscall, %function\nfault_syscall:\n"
        "mov x8, x0\nmov x0, x1\nmov x1, x2\nmov x2, x3\nmov x3, x4\nmov x4, x5\nmov x5, x6\n"
        "svc #0\n.globl fault_after\nfault_after:\nret\n");
#else
#error "x86-64 or aarch64"
#endif

static const int TRAPPED[] = {
#ifdef SYS_open /* aarch64 has only those that take a directory */
    SYS_open, SYS_creat, SYS_rename, SYS_link, SYS_unlink, SYS_mkdir, SYS_rmdir,
    SYS_symlink, SYS_chmod,
#endif
#ifdef SYS_renameat
    SYS_renameat,
#endif
    SYS_openat, SYS_write, SYS_writev, SYS_pwrite64, SYS_pwritev, SYS_pwritev2, SYS_copy_file_range, SYS_sendfile,
    SYS_fallocate, SYS_truncate, SYS_ftruncate, SYS_fsync, SYS_fdatasync, SYS_renameat2, SYS_linkat, SYS_unlinkat,
    SYS_mkdirat, SYS_symlinkat, SYS_fchmod, SYS_fchmodat,
};
enum { TRAPS = sizeof TRAPPED / sizeof *TRAPPED };

long fault_count(void) { return __atomic_load_n(&changes, __ATOMIC_SEQ_CST); }

static int is_below(const char *path) { return path && !strncmp(path, folder, strlen(folder)); }

/* Of a path as openat(2) takes it; with the path "", of an open file. */
static int is_at(long directory, long address) {
    const char *path = (const char *)address;
    if (!path) return 0;
    if (path[0] == '/' || (int)directory == AT_FDCWD) return is_below(path);
    char link[64], place[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", (int)directory);
    ssize_t length = readlink(link, place, sizeof place - 1);
    if (length < 0) return 0;
    place[length] = 0;
    return is_below(place);
}

/* Whether a call changes something below the folder, and whether that needs space. */
static int is_change(long number, const long *with, int *needs_space) {
    const long here = AT_FDCWD, open_file = (long)"";
    *needs_space = 1;
    switch (number) {
#ifdef SYS_open
        case SYS_open: return (with[1] & (O_CREAT | O_TRUNC)) && is_at(here, with[0]);
        case SYS_creat:
        case SYS_mkdir: return is_at(here, with[0]);
        case SYS_symlink:
        case SYS_link: return is_at(here, with[1]);
        case SYS_unlink:
        case SYS_chmod:
        case SYS_rmdir: *needs_space = 0; return is_at(here, with[0]);
        case SYS_rename: *needs_space = 0; return is_at(here, with[1]);
#endif
#ifdef SYS_renameat
        case SYS_renameat:
#endif
        case SYS_renameat2: *needs_space = 0; return is_at(with[2], with[3]);
        case SYS_openat: return (with[2] & (O_CREAT | O_TRUNC)) && is_at(with[0], with[1]);
        case SYS_linkat: return is_at(with[2], with[3]);
        case SYS_mkdirat: return is_at(with[0], with[1]);
        case SYS_symlinkat: return is_at(with[1], with[2]);
        case SYS_fchmodat:
        case SYS_unlinkat: *needs_space = 0; return is_at(with[0], with[1]);
        case SYS_truncate: *needs_space = with[1] > 0; return is_at(here, with[0]);
        case SYS_ftruncate: *needs_space = with[1] > 0; return is_at(with[0], open_file);
        case SYS_fchmod:
        case SYS_fsync:
        case SYS_fdatasync: *needs_space = 0; return is_at(with[0], open_file);
        case SYS_copy_file_range: return is_at(with[2], open_file);
        default: return is_at(with[0], open_file); /* writes of all kinds, fallocate, sendfile: the first is the file */
    }
}

static void on_call(int signal_number, siginfo_t *info, void *context) {
    (void)signal_number, (void)info;
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
    int saved = errno, needs_space;
    long number = NUMBER(*machine), with[6] = ARGUMENTS(*machine);
    if (is_change(number, with, &needs_space)) {
        long change = __atomic_add_fetch(&changes, 1, __ATOMIC_SEQ_CST);
        if (mode == KILL && change == at) {
            if (number == SYS_write) fault_syscall(number, with[0], with[1], with[2] / 2, 0, 0, 0);
            kill(getpid(), SIGKILL);
        }
        if (mode == FULL && change >= at && needs_space) {
            errno = saved;
            ANSWER(*machine) = -ENOSPC;
            return;
        }
    }
    ANSWER(*machine) = fault_syscall(number, with[0], with[1], with[2], with[3], with[4], with[5]);
    errno = saved;
}

/* Lets through what `fault_syscall` calls, and what is not TRAPPED. */
static int trap(void) {
    struct sock_filter filter[9 + TRAPS], *next = filter;
    const uint64_t after = (uint64_t)(uintptr_t)fault_after;
    const uint32_t ip = offsetof(struct seccomp_data, instruction_pointer);
    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 0, 5 + TRAPS);
    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ip);
    *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)after, 0, 2);
    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ip + 4);
    *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(after >> 32), 1 + TRAPS, 0);
    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int place = 0; place < TRAPS; place++)
        *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TRAPPED[place], TRAPS - place, 0);
    *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    struct sock_fprog program = {next - filter, filter};
    struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}

/* From now on, for this process only. 0, or -1 where the system has no such filters. */
int fault_arm(const char *where, long number, int what) {
    snprintf(folder, sizeof folder, "%s", where);
    at = number;
    mode = what;
    __atomic_store_n(&changes, 0, __ATOMIC_SEQ_CST);
    return trap();
}
