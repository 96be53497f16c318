/* The C library's system calls as Linux has them, for programs that were built without an operating
   system: with it, `run` reads files under qemu-arm or qemu-riscv32. On a board leave this file and
   main.c out, and call the network from your own program. */
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int main(int argc, char **argv);
void linux_start(int argc, char **argv);

#ifdef __PICOLIBC__ /* names without an underscore */
#define NAME(x) x
#else
#define NAME(x) _##x
#endif

#ifdef __arm__
enum { EXIT = 1, READ = 3, WRITE = 4, OPENAT = 322, CLOSE = 6, LSEEK = 19 };

/* argc and argv lie on the stack. */
__asm__(".global _start\n"
        ".thumb_func\n"
        "_start:\n"
        "    ldr r0, [sp]\n"
        "    add r1, sp, #4\n"
        "    bl linux_start\n");

static long call(long number, long a, long b, long c, long d)
{
    register long r0 __asm__("r0") = a;
    register long r1 __asm__("r1") = b;
    register long r2 __asm__("r2") = c;
    register long r3 __asm__("r3") = d;
    register long r7 __asm__("r7") = number;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r1), "r"(r2), "r"(r3), "r"(r7) : "memory");
    return r0;
}
#else
enum { EXIT = 93, READ = 63, WRITE = 64, OPENAT = 56, CLOSE = 57, LSEEK = 62 };

__asm__(".global _start\n"
        "_start:\n"
        "    .option push\n"
        "    .option norelax\n"
        "    la gp, __global_pointer$\n"
        "    .option pop\n"
        "    la tp, thread_data\n"
        "    lw a0, 0(sp)\n"
        "    addi a1, sp, 4\n"
        "    andi sp, sp, -16\n"
        "    call linux_start\n");

static long call(long number, long a, long b, long c, long d)
{
    register long a0 __asm__("a0") = a;
    register long a1 __asm__("a1") = b;
    register long a2 __asm__("a2") = c;
    register long a3 __asm__("a3") = d;
    register long a4 __asm__("a4") = 0;
    register long a7 __asm__("a7") = number;
    if (number == LSEEK) { /* 64-bit offsets: _llseek(file, high, low, result, whence) */
        static long long result;
        a4 = c;
        a3 = (long)&result;
        a2 = b;
        a1 = b >> 31;
        __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a7) : "memory");
        return a0 < 0 ? a0 : (long)result;
    }
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a7) : "memory");
    return a0;
}
#endif

static long checked(long result)
{
    return result < 0 ? -1 : result;
}

void NAME(exit)(int status)
{
    for (;;) {
        call(EXIT, status, 0, 0, 0);
    }
}

int NAME(open)(const char *path, int flags, ...)
{
    const int linux_flags = (flags & O_ACCMODE) | (flags & O_CREAT ? 0100 : 0) |
                            (flags & O_TRUNC ? 01000 : 0) | (flags & O_APPEND ? 02000 : 0);
    return (int)checked(call(OPENAT, -100, (long)path, linux_flags, 0644));
}

int NAME(close)(int file)
{
    return (int)checked(call(CLOSE, file, 0, 0, 0));
}

int NAME(read)(int file, void *place, size_t size)
{
    return (int)checked(call(READ, file, (long)place, (long)size, 0));
}

int NAME(write)(int file, const void *place, size_t size)
{
    return (int)checked(call(WRITE, file, (long)place, (long)size, 0));
}

#ifdef __PICOLIBC__
static int put(char letter, FILE *file)
{
    (void)file;
    return write(1, &letter, 1) == 1 ? 0 : -1;
}

static FILE console = FDEV_SETUP_STREAM(put, NULL, NULL, _FDEV_SETUP_WRITE);
FILE *const stdin = &console;
FILE *const stdout = &console;
FILE *const stderr = &console;
#endif

off_t NAME(lseek)(int file, off_t offset, int whence)
{
    return (off_t)checked(call(LSEEK, file, (long)offset, whence, 0));
}

int NAME(fstat)(int file, struct stat *status)
{
    status->st_mode = file <= 2 ? S_IFCHR : S_IFREG;
    status->st_blksize = 512;
    return 0;
}

int NAME(isatty)(int file)
{
    return file <= 2;
}

int NAME(getpid)(void)
{
    return 1;
}

int NAME(kill)(int process, int signal)
{
    (void)process;
    (void)signal;
    return -1;
}

/* The heap of stdio's buffers; kernels use none. */
void *NAME(sbrk)(ptrdiff_t size)
{
    static char heap[1 << 16];
    static size_t used;
    used += (size_t)size;
    return used <= sizeof heap ? heap + used - size : (void *)-1;
}

/* No clock: times under an emulator say nothing. */
int NAME(times)(void *buffer)
{
    (void)buffer;
    return -1;
}

void _init(void)
{
}

void _fini(void)
{
}

void linux_start(int argc, char **argv)
{
    exit(main(argc, argv));
}
