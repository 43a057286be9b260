/* Takes memory of every kind that a process can have, says so, and keeps it:
 *   memory SECRET_SEED FILE_SEED
 * The 64 bytes that follow from SECRET_SEED are in its anonymous memory, those of
 * FILE_SEED in the cached file /tmp/secret, once on each of 512 pages, in between
 * bytes that do not compress. Neither is ever copied by the kernel, nor by
 * registers that hold 16 bytes. readers/planted.py has the same generator. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MB (1 << 20)
#define PAGE 4096
#define HUGE (2 * MB)
#define SECRET_PAGES 512
#define SECRET_WORDS 8

static uint64_t random_state = 1;

static uint64_t next(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state;
}

static volatile uint64_t *map(size_t size, int flags, int fd) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (memory == MAP_FAILED) {
        perror("memory: mmap");
        return NULL;
    }
    return memory;
}

static void fill(volatile uint64_t *at, size_t size) {
    for (size_t i = 0; at && i < size / 8; i++)
        at[i] = next(&random_state);
}

/* Anonymous memory that the kernel is told something about. */
static volatile uint64_t *anonymous(size_t size, int advice) {
    volatile uint64_t *memory = map(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (memory && madvise((void *)memory, size, advice))
        perror("memory: madvise");
    fill(memory, size);
    return memory;
}

static void plant(volatile uint64_t *at, uint64_t seed) {
    fill(at, SECRET_PAGES * PAGE);
    for (size_t page = 0; at && page < SECRET_PAGES; page++) {
        uint64_t state = seed;
        volatile uint64_t *secret = at + page * (PAGE / 8) + page % 64 * 7;
        for (int word = 0; word < SECRET_WORDS; word++)
            secret[word] = next(&state);
    }
}

static volatile uint64_t *file(const char *path, size_t size) {
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, size)) {
        perror(path);
        return NULL;
    }
    return map(size, MAP_SHARED, fd);
}

/* The same page, again and again. */
static void same(size_t size) {
    volatile uint64_t *memory = map(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (size_t i = 0; memory && i < size / 8; i++)
        memory[i] = 0x5a5a0000 + i % (PAGE / 8);
    madvise((void *)memory, size, MADV_MERGEABLE);
}

int main(int count, char **words) {
    if (count != 3)
        return 2;
    volatile uint64_t *secret = map(SECRET_PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    madvise((void *)secret, SECRET_PAGES * PAGE, MADV_NOHUGEPAGE);
    plant(secret, strtoull(words[1], NULL, 0));
    plant(file("/tmp/secret", SECRET_PAGES * PAGE), strtoull(words[2], NULL, 0));
    same(MB);
    anonymous(12 * MB, MADV_NOHUGEPAGE);
    anonymous(12 * MB, MADV_HUGEPAGE);
    volatile uint64_t *swapped = anonymous(8 * MB, MADV_NOHUGEPAGE);
    madvise((void *)swapped, 8 * MB, MADV_PAGEOUT);
    fill(map(2 * MB, MAP_SHARED | MAP_ANONYMOUS, -1), 2 * MB);
    fill(map(MB, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1), MB);
    fill(map(HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1), HUGE);
    fill(file("/hugetlb/mapped", HUGE), HUGE);
    /* What a fork shares is mapped twice. A page that two have swapped out and one
     * reads again stays in the swap cache. */
    if (fork() > 0) {
        for (size_t i = 0; i < 4 * MB / 8; i += PAGE / 8)
            random_state += swapped[i];
        puts("GUEST-HELPER");
        fflush(stdout);
    }
    for (;;)
        pause();
}
